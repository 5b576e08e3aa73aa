"""Gives running streams another bundle: fetched, verified, warmed up, and only then switched to."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event, Thread

import structlog

from driftprint.bundle import SUFFIX, Bundle, read_bundle
from driftprint.clock import Clock
from driftprint.errors import BundleError, ConfigError, DriftprintError, SourceError
from driftprint.installed import find_bundle
from driftprint.keys import TrustedKeys
from driftprint.manifest import Manifest, check_not_older
from driftprint.messages import CommandMessage, Wanted
from driftprint_edge.choice import BundleChoice, Choices, ran
from driftprint_edge.config import StreamSettings
from driftprint_edge.fetch import Open, fetched
from driftprint_edge.sources.live import Backoff
from driftprint_edge.stream import Stream
from driftprint_edge.watch import Watch

CONFIRM_SECONDS = 60.0
"""A new bundle has proved itself when the agent has run with it for so long, and frames have been scored."""

RETRIES = Backoff(first=10, longest=600)
"""Between attempts to fetch a bundle."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What a stream is to run: by the server or by agent.toml, or nothing else than it runs, where neither says more.

    Attributes:
        stream: which.
        wanted: by the server.
        path: that agent.toml names now.
    """

    stream: str
    wanted: Wanted | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class _Failed:
    """An order that could not be carried out.

    Attributes:
        order: which.
        times: how often.
        due: monotonic time of the next attempt; infinite where none is made.
    """

    order: _Order
    times: int
    due: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a stream does not run what is wanted.

    Attributes:
        why: in words.
        unfetched: whether it is only that the bundle cannot be fetched, which is tried again.
    """

    why: str
    unfetched: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A stream that can be given another bundle.

    Attributes:
        settings: of the stream.
        stream: itself.
        path: of the bundle that it runs.
    """

    settings: StreamSettings
    stream: Stream
    path: str


class Swaps:
    """Gives streams other bundles, in a thread of its own, so that none of their frames waits for it.

    Where anything is wrong with the new bundle, the old one stays, and `problems` says why.

    Args:
        streams: by name.
        choices: where what they run is kept.
        trusted: whose signatures are taken; None where none is asked for, and then none is fetched.
        folder: for fetched bundles.
        open_address: opens the address of one to be fetched.
        make_watch: loads a bundle for a stream; raises DriftprintError where it cannot be used.
        clock: tells when a bundle has proved itself.
        random: scatters the attempts to fetch.
        went_back: by stream, why it was started with the bundle before.
    """

    def __init__(
        self,
        streams: Mapping[str, Running],
        *,
        choices: Choices,
        trusted: TrustedKeys | None,
        folder: Path,
        open_address: Open,
        make_watch: Callable[[Bundle, StreamSettings], Watch],
        clock: Clock,
        random: Random,
        went_back: Mapping[str, str] | None = None,
    ) -> None:
        self._streams = dict(streams)
        self._choices = choices
        self._trusted = trusted
        self._folder = folder
        self._open = open_address
        self._make_watch = make_watch
        self._clock = clock
        self._random = random
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._wanted: Mapping[str, Wanted] = {}
        """By the server, as it last said: what is not in here any more is not carried out."""
        self._failed: dict[str, _Failed] = {}
        self._unconfirmed_since = {
            name: clock.now().monotonic
            for name in streams
            if (choice := choices.choice(name)) is not None and not choice.confirmed
        }
        self.problems = {name: Problem(why) for name, why in (went_back or {}).items()}
        """By stream. Read by any thread."""
        self._log = structlog.get_logger()

    def command(self, message: CommandMessage) -> None:
        """The server says what is to run. Called from any thread."""
        self._wanted = message.wanted
        for stream in self._streams:
            self._orders.put(_Order(stream, message.wanted.get(stream)))

    def configured(self, stream: str, path: str) -> None:
        """agent.toml names another bundle than before. Called from any thread."""
        self._orders.put(_Order(stream, path=path))

    def run(self, stop: Event) -> None:
        """Carry out orders until `stop` is set."""
        while not stop.is_set():
            with suppress(queue.Empty):
                self.carry_out(self._orders.get(timeout=0.5))
            self.tick()

    def start(self, stop: Event) -> Thread:
        """Run in a thread of its own."""
        thread = Thread(target=self.run, args=(stop,), name="swaps", daemon=True)
        thread.start()
        return thread

    def tick(self) -> None:
        """Confirm bundles that have proved themselves, and try again to fetch those that could not be."""
        now = self._clock.now().monotonic
        for name, since in list(self._unconfirmed_since.items()):
            choice = self._choices.choice(name)
            if choice is None or choice.confirmed:
                del self._unconfirmed_since[name]
            elif now - since >= CONFIRM_SECONDS and self._streams[name].stream.frames_with_bundle:
                self._choices.choose(name, choice.model_copy(update={"confirmed": True}))
                del self._unconfirmed_since[name]
                self._log.info("bundle confirmed", stream=name, bundle=choice.bundle_id)
        for failed in list(self._failed.values()):
            if now >= failed.due:
                self.carry_out(failed.order)

    def carry_out(self, order: _Order) -> None:
        """Swap, or say why not. Never raises."""
        if not self._holds(order):
            return
        failed = self._failed.get(order.stream)
        if failed is None or failed.order != order:  # what was wrong with another one says nothing of this one
            self._settled(order.stream)
        try:
            if self._swap(order):
                self._log.info("bundle swapped", stream=order.stream, bundle=self._manifest(order.stream).id)
            self._settled(order.stream)
        except SourceError as error:
            self._refused(order, Problem(str(error), unfetched=True))
        except DriftprintError as error:
            self._refused(order, Problem(str(error)))
        except Exception as error:  # a fault of ours must not end the watch
            self._refused(order, Problem(repr(error)))

    def _holds(self, order: _Order) -> bool:
        """Whether it is still wanted. Orders of agent.toml always are."""
        return order.path is not None or self._wanted.get(order.stream) == order.wanted

    def _settled(self, stream: str) -> None:
        self.problems.pop(stream, None)
        self._failed.pop(stream, None)

    def _refused(self, order: _Order, problem: Problem) -> None:
        if not self._holds(order):
            return
        before = self._failed.get(order.stream)
        times = 1 if before is None else before.times + 1
        wait = RETRIES.seconds(times, self._random) if problem.unfetched else math.inf
        self._failed[order.stream] = _Failed(order, times, self._clock.now().monotonic + wait)
        self.problems[order.stream] = problem
        self._log.error("bundle not swapped", stream=order.stream, what=problem.why)

    def _swap(self, order: _Order) -> bool:
        """Whether another bundle runs now.

        Raises:
            SourceError: where the bundle cannot be fetched, or is not wanted any more.
            DriftprintError: where it cannot be used.
        """
        running, current = self._streams[order.stream], self._manifest(order.stream)
        choice = self._choices.choice(order.stream)
        if order.path is not None:
            path = order.path
            bundle = self._read(path)
        elif order.wanted is None:
            return False
        else:
            wanted_id = f"{order.wanted.name}-{order.wanted.version}"
            if wanted_id == current.id:
                return False
            if choice is not None and wanted_id in choice.refused:
                raise BundleError("the agent did not keep running with it before", where=wanted_id)
            path, bundle = self._bring(order, order.wanted, wanted_id, choice)
            if not order.wanted.back:
                check_not_older(bundle.manifest, current)
        watch = self._make_watch(bundle, running.settings)
        if not self._holds(order):  # it has taken a while
            return False
        settings = running.settings
        if order.path is not None:
            settings = settings.model_copy(update={"bundle": path})
            self._choices.choose(order.stream, None)
        else:
            self._choices.choose(
                order.stream,
                BundleChoice(
                    configured=settings.bundle,
                    bundle=path,
                    bundle_id=bundle.manifest.id,
                    previous=running.path,
                    ran=ran(choice, current.id),
                    refused=() if choice is None else choice.refused,
                ),
            )
            self._unconfirmed_since[order.stream] = self._clock.now().monotonic
        running.stream.swap(watch)
        self._streams[order.stream] = Running(settings, running.stream, path)
        self._tidy(keep={running.path, path})
        return True

    def _bring(self, order: _Order, wanted: Wanted, wanted_id: str, choice: BundleChoice | None) -> tuple[str, Bundle]:
        """The wanted bundle; on a way back from the disk, where that has it.

        Args:
            order: for as long as it holds, the bundle is fetched.
            wanted: which.
            wanted_id: its name and version.
            choice: what the stream runs; None where agent.toml names it.
        """
        if self._trusted is None:
            raise ConfigError(
                "a bundle that comes over the network must be signed",
                where="bundles.trusted_keys",
                fix="name a folder with the keys that you trust",
            )
        kept = self._folder / f"{wanted_id}{SUFFIX}"
        if wanted.back:
            if choice is None or wanted_id not in choice.ran:
                raise BundleError("has not run here, so there is no way back to it", where=wanted_id)
            for path in (choice.previous, choice.configured, str(kept)):
                with suppress(DriftprintError):  # another one, or a damaged one: it is fetched
                    if (found := self._read(path)).manifest.id == wanted_id:
                        return path, found
        with fetched(wanted.url, self._folder, self._open, go_on=lambda: self._holds(order)) as file:
            bundle = self._read(str(file))
            if bundle.manifest.id != wanted_id:
                raise BundleError(f"is {bundle.manifest.id}, not {wanted_id}", where=wanted.url)
            file.replace(kept)
        return str(kept), bundle

    def _read(self, path: str) -> Bundle:
        return read_bundle(find_bundle(path), trusted=self._trusted)

    def _tidy(self, keep: set[str]) -> None:
        """Remove fetched bundles that no stream runs, or ran before."""
        keep |= {running.path for running in self._streams.values()}
        for name in self._streams:
            choice = self._choices.choice(name)
            keep |= set() if choice is None else {choice.bundle, choice.previous}
        for path in self._folder.glob(f"*{SUFFIX}"):
            if str(path) not in keep:
                path.unlink(missing_ok=True)

    def _manifest(self, stream: str) -> Manifest:
        return self._streams[stream].stream.watch.scorer.manifest

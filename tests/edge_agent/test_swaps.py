"""Another bundle for a running stream: taken over with no frame lost, or refused with the old one in its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import IO, Any

import pytest

from driftprint.bundle import Bundle, read_bundle
from driftprint.frames import FrameRef
from driftprint.keys import TrustedKeys, make_key, public_file
from driftprint.messages import CommandMessage, Wanted, WindowMessage
from driftprint.signing import sign
from driftprint_edge.choice import MOST_STARTS, BundleChoice, bundle_at_start, go_back
from driftprint_edge.config import StreamSettings
from driftprint_edge.fetch import Open, over_http
from driftprint_edge.reports import StreamId
from driftprint_edge.stream import Stream
from driftprint_edge.swaps import CONFIRM_SECONDS, RETRIES, Problem, Running, Swaps
from driftprint_edge.turns import Turns
from driftprint_edge.watch import Watch, load_scorer
from tests.bundles import inlier_frames, make_bundle
from tests.edge_agent.stores import open_store
from tests.edge_agent.test_stream import Disk, ListSource
from tests.edge_agent.watches import watch_of
from tests.server.clocks import FakeClock

FRAMES = list(inlier_frames(20))


class Site:
    """A device with one stream, and a server that has bundles.

    Args:
        folder: for everything.
        clock: of the device.
        key: by which bundles are signed.
        trusted: whether the device trusts it.
        open_address: as in `Swaps`; what the server has by default.
    """

    def __init__(
        self, folder: Path, clock: FakeClock, *, key: Path, trusted: bool = True, open_address: Open | None = None
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._key = key
        self.while_loading: Callable[[], None] = lambda: None
        self.served = folder / "served"
        self.served.mkdir()
        handler = partial(_QuietHandler, directory=str(self.served))
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        self.first = make_bundle(folder / "toy-1.driftprint")
        sign(self.first, key)
        self.store = open_store(folder / "agent.db", clock)
        self.disk = Disk(self.store)
        keys = folder / "trusted"
        keys.mkdir()
        shutil.copy(public_file(key), keys)
        self.trusted = TrustedKeys(keys) if trusted else None
        self.settings = StreamSettings.model_validate(
            {"name": "belt", "bundle": str(self.first), "source": {"path": folder, "frames_per_second": 1}}
        )
        self.stream = Stream(
            StreamId("north", "pi-1", "belt"),
            source=ListSource(clock, ()),
            watch=self.watch(read_bundle(self.first), self.settings),
            outbox=self.disk,
            turns=Turns(1),
            clock=clock,
            report_seconds=10,
            on_store_error=lambda _: None,
        )
        self.swaps = Swaps(
            {"belt": Running(self.settings, self.stream, str(self.first))},
            choices=self.store,
            trusted=self.trusted,
            folder=folder / "bundles",
            open_address=open_address or over_http(None),
            make_watch=self.watch,
            clock=clock,
            random=Random(0),
        )

    def watch(self, bundle: Bundle, stream: StreamSettings) -> Watch:
        self.while_loading()
        return watch_of(load_scorer(bundle, stream), self.folder, self.clock)

    def serve(self, version: int, *, signed: bool = True, **wrong: Any) -> Wanted:
        """Offer a bundle; how it is asked for."""
        path = make_bundle(self.served / f"toy-{version}.driftprint", version=version, zipped=True, **wrong)
        if signed:
            sign(path, self._key)
        return self.wanted(version)

    def wanted(self, version: int, **fields: Any) -> Wanted:
        url = f"http://127.0.0.1:{self._http.server_port}/toy-{version}.driftprint"
        return Wanted.model_validate({"name": "toy", "version": version, "url": url, **fields})

    def command(self, wanted: Wanted) -> str | None:
        """Send it, and have it carried out; what the device then says is wrong."""
        self.swaps.command(CommandMessage(wanted={"belt": wanted}))
        return self.settle()

    def withdraw(self) -> str | None:
        """Take back whatever was commanded."""
        self.swaps.command(CommandMessage())
        return self.settle()

    def settle(self) -> str | None:
        while not self.swaps._orders.empty():
            self.swaps.carry_out(self.swaps._orders.get())
        self.see(1)
        problem = self.swaps.problems.get("belt")
        return None if problem is None else problem.why

    def see(self, count: int) -> None:
        for frame in FRAMES[:count]:
            self.clock.wall += 1
            self.stream.step(FrameRef("x", frame))

    @property
    def runs(self) -> str:
        return self.stream.watch.scorer.manifest.id

    def starts_with(self) -> str:
        """What the agent would start with now."""
        return Path(bundle_at_start("belt", str(self.first), self.store).bundle).name

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.store.close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signer") / "parts.key"
    make_key(path)
    return path


@pytest.fixture
def make_site(tmp_path: Path, clock: FakeClock, key: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(**choices: Any) -> Site:
        sites.append(Site(tmp_path, clock, key=key, **choices))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def test_a_wanted_bundle_is_fetched_verified_and_taken_over_in_mid_stream(site: Site) -> None:
    site.see(5)
    assert site.command(site.serve(2)) is None
    site.see(4)
    assert site.runs == "toy-2"
    window = site.disk.windows[-1]
    assert (window.bundle.version, window.frames_total) == (2, 5), "the frames before the swap"
    site.stream.report(site.clock.now())
    assert site.disk.windows[-1].frames_total == 10, "no frame is lost, totals go on"
    assert site.starts_with() == "toy-2.driftprint"


def test_the_same_command_again_changes_nothing(site: Site) -> None:
    wanted = site.serve(2)
    site.command(wanted)
    watch = site.stream.watch
    assert site.command(wanted) is None
    assert site.stream.watch is watch


@pytest.mark.parametrize(
    ("offer", "why"),
    [
        (lambda site: site.serve(2, signed=False), "not signed"),
        (lambda site: site.serve(2, golden_shift=1.0), "golden frame 0"),
        (lambda site: site.wanted(2), "cannot be fetched"),
        (lambda site: site.wanted(2, url="http://127.0.0.1:9/toy-2.driftprint"), "cannot be fetched"),
        (lambda site: site.serve(3).model_copy(update={"version": 2}), "is toy-3, not toy-2"),
    ],
)
def test_a_bundle_that_cannot_be_used_leaves_the_old_one_and_says_why(
    site: Site, offer: Callable[[Site], Wanted], why: str
) -> None:
    error = site.command(offer(site))
    assert error is not None
    assert why in error
    assert site.runs == "toy-1"
    assert site.starts_with() == "toy-1.driftprint"


def test_a_cut_or_altered_file_is_refused(site: Site) -> None:
    wanted = site.serve(2)
    file = site.served / "toy-2.driftprint"
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:1000] + b"x" + whole[1001:], b"", b"<html>not found</html>"):
        file.write_bytes(broken)
        assert site.command(wanted)
        assert site.runs == "toy-1"
    file.write_bytes(whole)
    assert site.command(wanted) is None, "and a whole one is taken after all"
    assert site.runs == "toy-2"


def test_an_older_bundle_is_refused_unless_a_step_back_is_asked_for(site: Site) -> None:
    site.command(site.serve(2))
    site.command(site.serve(3))
    error = site.command(site.wanted(2))
    assert error is not None
    assert "is older than version 3" in error
    assert site.runs == "toy-3"
    assert site.command(site.wanted(2, back=True)) is None
    assert site.runs == "toy-2"


def test_there_is_no_way_back_to_a_bundle_that_has_not_run_here(site: Site) -> None:
    site.command(site.serve(3))
    site.serve(2)
    error = site.command(site.wanted(2, back=True))
    assert error is not None
    assert "has not run here" in error
    assert site.runs == "toy-3"


def test_one_may_go_back_further_than_one_step(site: Site) -> None:
    site.command(site.serve(2))
    site.command(site.serve(3))
    for version in (2, 1):
        assert site.command(site.wanted(version, back=True)) is None
        assert site.runs == f"toy-{version}"


def test_a_step_back_to_what_ran_before_needs_no_server(site: Site) -> None:
    site.command(site.serve(2))
    assert site.command(site.wanted(1, back=True, url="http://127.0.0.1:9/toy-1.driftprint")) is None
    assert site.runs == "toy-1"
    assert site.starts_with() == "toy-1.driftprint"
    choice = site.store.choice("belt")
    assert choice is not None
    assert choice.bundle == str(site.first), "the file that agent.toml names, not a copy"


def test_a_step_back_to_a_bundle_that_was_damaged_meanwhile_is_fetched(site: Site) -> None:
    site.command(site.serve(2))
    (site.first / "model.onnx").write_bytes(b"no model")
    assert site.command(site.serve(1).model_copy(update={"back": True})) is None
    assert site.runs == "toy-1"
    choice = site.store.choice("belt")
    assert choice is not None
    assert choice.bundle == str(site.folder / "bundles" / "toy-1.driftprint")


def test_the_same_version_asked_for_without_a_step_back_is_not_taken_from_the_disk(site: Site) -> None:
    site.command(site.serve(2))
    error = site.command(site.wanted(1, url="http://127.0.0.1:9/toy-1.driftprint"))
    assert error is not None
    assert "cannot be fetched" in error


def test_without_trusted_keys_nothing_is_fetched(make_site: Callable[..., Site]) -> None:
    site = make_site(trusted=False)
    error = site.command(site.serve(2))
    assert error is not None
    assert "must be signed" in error
    assert not (site.folder / "bundles").exists()


def test_a_server_that_is_away_is_asked_again(site: Site, clock: FakeClock) -> None:
    wanted = site.wanted(2)
    assert site.command(wanted)
    site.serve(2)
    site.swaps.tick()
    assert site.runs == "toy-1", "not at once"
    clock.wall += RETRIES.longest
    site.swaps.tick()
    site.see(1)
    assert (site.runs, site.swaps.problems) == ("toy-2", {})


def test_a_bundle_that_is_wanted_no_more_is_not_asked_for_again(site: Site, clock: FakeClock) -> None:
    assert site.command(site.wanted(2))
    assert site.withdraw() is None
    site.serve(2)
    clock.wall += RETRIES.longest
    site.swaps.tick()
    site.see(1)
    assert site.runs == "toy-1"


def test_a_bundle_that_is_taken_back_while_it_is_fetched_is_not_swapped_to(make_site: Callable[..., Site]) -> None:
    site = make_site(open_address=lambda url: opened(url))
    file = (site.folder / "served" / "toy-2.driftprint", site.serve(2))[0]

    def opened(_url: str) -> IO[bytes]:
        site.swaps.command(CommandMessage())
        return file.open("rb")

    assert site.command(site.wanted(2)) is None
    assert site.runs == "toy-1"
    assert not list((site.folder / "bundles").iterdir()), "nothing is left of it"


def test_a_bundle_that_is_taken_back_while_it_is_loaded_is_not_swapped_to(site: Site) -> None:
    site.while_loading = lambda: site.swaps.command(CommandMessage())
    assert site.command(site.serve(2)) is None
    assert site.runs == "toy-1"
    assert site.starts_with() == "toy-1.driftprint"


def test_what_was_wrong_with_one_bundle_is_not_said_of_the_next(make_site: Callable[..., Site]) -> None:
    site = make_site(open_address=lambda url: opened(url))
    said_meanwhile: list[dict[str, Problem]] = []

    def opened(url: str) -> IO[bytes]:
        said_meanwhile.append(dict(site.swaps.problems))
        return over_http(None)(url)

    assert site.command(site.serve(2, signed=False))
    assert site.command(site.wanted(2)), "the same again"
    assert site.command(site.serve(3)) is None
    assert [list(said) for said in said_meanwhile] == [[], ["belt"], []]


def test_it_is_told_apart_whether_a_bundle_was_fetched_at_all(site: Site) -> None:
    site.command(site.wanted(2))
    assert site.swaps.problems["belt"].unfetched
    site.command(site.serve(2, signed=False))
    assert not site.swaps.problems["belt"].unfetched


def test_a_download_that_is_no_such_bundle_leaves_the_copy_on_the_disk(site: Site) -> None:
    site.command(site.serve(2))
    kept = site.folder / "bundles" / "toy-2.driftprint"
    whole = kept.read_bytes()
    site.command(site.serve(3))
    (site.served / "toy-2.driftprint").write_bytes(b"no bundle")
    assert site.command(site.wanted(2))
    assert kept.read_bytes() == whole


def test_a_bundle_that_runs_for_a_while_is_confirmed(site: Site, clock: FakeClock) -> None:
    site.command(site.serve(2))
    clock.wall += CONFIRM_SECONDS
    site.swaps.tick()
    choice = site.store.choice("belt")
    assert choice is not None
    assert choice.confirmed
    for _ in range(2 * MOST_STARTS):
        assert site.starts_with() == "toy-2.driftprint"


def test_an_agent_that_does_not_keep_running_goes_back_by_itself_and_stays_there(site: Site) -> None:
    wanted = site.serve(2)
    site.command(wanted)
    starts = [site.starts_with() for _ in range(MOST_STARTS + 2)]
    assert starts == ["toy-2.driftprint"] * MOST_STARTS + ["toy-1.driftprint"] * 2
    choice = site.store.choice("belt")
    assert choice is not None
    assert choice.refused == ("toy-2",)


def test_a_bundle_that_was_gone_back_from_is_not_taken_again(site: Site) -> None:
    choice = BundleChoice(
        configured=str(site.first), bundle="toy-2", bundle_id="toy-2", previous=str(site.first), starts=MOST_STARTS
    )
    site.store.choose("belt", choice)
    start = bundle_at_start("belt", str(site.first), site.store)
    assert (start.bundle, "toy-2: the agent has not kept running" in start.went_back) == (str(site.first), True)
    error = site.command(site.serve(2))
    assert error is not None
    assert "did not keep running" in error
    assert site.command(site.serve(3)) is None


def test_a_chosen_bundle_that_cannot_be_loaded_is_gone_back_from(site: Site) -> None:
    site.command(site.serve(2))
    start = go_back("belt", str(site.first), site.store, "it is damaged")
    assert (start.bundle, start.went_back) == (str(site.first), "it is damaged")
    assert site.starts_with() == "toy-1.driftprint"


def test_what_agent_toml_names_afterwards_wins(site: Site) -> None:
    site.command(site.serve(2))
    other = make_bundle(site.folder / "other-1.driftprint", name="other")
    assert bundle_at_start("belt", str(other), site.store).bundle == str(other)
    assert site.store.choice("belt") is None


def test_another_bundle_in_agent_toml_is_taken_over_by_a_reload(site: Site, key: Path) -> None:
    other = make_bundle(site.folder / "other-1.driftprint", name="other")
    site.swaps.configured("belt", str(other))
    error = site.settle()
    assert error is not None
    assert "not signed" in error
    sign(other, key)
    site.swaps.configured("belt", str(other))
    assert site.settle() is None
    assert site.runs == "other-1"


def test_bundles_that_no_stream_needs_any_more_are_removed(site: Site) -> None:
    for version in (2, 3, 4):
        assert site.command(site.serve(version)) is None
    kept = sorted(path.name for path in (site.folder / "bundles").iterdir())
    assert kept == ["toy-3.driftprint", "toy-4.driftprint"]


def test_orders_are_carried_out_by_a_thread_of_their_own(site: Site) -> None:
    stop = Event()
    thread = site.swaps.start(stop)
    site.swaps.command(CommandMessage(wanted={"belt": site.serve(2), "unknown": site.wanted(2)}))
    while site.store.choice("belt") is None:
        thread.join(0.01)
    stop.set()
    thread.join(60)
    site.see(1)
    assert (site.runs, site.swaps.problems) == ("toy-2", {})


def test_windows_after_a_swap_tell_of_the_new_bundle_alone(site: Site) -> None:
    site.see(5)
    site.command(site.serve(2))
    site.stream.report(site.clock.now())
    last: WindowMessage = site.disk.windows[-1]
    assert last.windows[0].frames == 1

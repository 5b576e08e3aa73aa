"""A fleet for rollouts' tests: real devices' states, made of the messages that devices send."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from driftprint.messages import AlertStatus, BundleRef, CommandMessage, DeviceMessage, DeviceStatus, decode
from driftprint.topics import DeviceTopic, device_topic, parse
from driftprint_server.audit import Audit
from driftprint_server.device import Device, apply
from driftprint_server.operators import OperatorStore
from driftprint_server.records import kept
from driftprint_server.rollout.bundles import Catalogue
from driftprint_server.rollout.links import BundleLinks, kept_secret
from driftprint_server.rollout.model import BundleId
from driftprint_server.rollout.news import News
from driftprint_server.rollout.orders import Order
from driftprint_server.rollout.service import Rollouts
from driftprint_server.rollout.settings import RolloutSettings
from tests.bundles import make_bundle
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, window

TOY1, TOY2, TOY3 = (BundleId("toy", version) for version in (1, 2, 3))
INSTANCE = "a" * 16
SOAK_SECONDS = 100.0


@dataclass
class Totals:
    """What a simulated device has done."""

    bundle: BundleId = TOY1
    frames: int = 1_000_000
    alarms: int = 0
    alarm: bool = False
    seq: int = 0
    instance: str = INSTANCE
    error: str = ""


@dataclass
class FakeFleet:
    """Devices that report what they are told to."""

    clock: FakeClock
    totals: dict[tuple[str, str], Totals] = field(default_factory=dict)
    known: dict[tuple[str, str], Device] = field(default_factory=dict)

    def add(self, *devices: str, site: str = "north", bundle: BundleId = TOY1, frames: int = 1_000_000) -> None:
        for device in devices:
            self.totals[site, device] = Totals(bundle, frames)
            self.say(state(site=site, device=device, instance=INSTANCE, streams=("belt",)))
            self.report(device, site=site)

    def report(
        self,
        device: str,
        *,
        site: str = "north",
        bundle: BundleId | None = None,
        frames: int = 1000,
        alarms: int = 0,
        alarm: bool = False,
        error: str = "",
        unfetched: bool = False,
    ) -> None:
        """Its next window, after so many more frames and alarms, and its health."""
        totals = self.totals[site, device]
        totals.bundle = bundle or totals.bundle
        totals.frames += frames
        totals.alarms += alarms
        totals.seq += 1
        self.say(
            window(
                totals.seq,
                site=site,
                device=device,
                instance=totals.instance,
                bundle=BundleRef(name=totals.bundle.name, version=totals.bundle.version),
                frames_total=totals.frames,
                alerts_total=totals.alarms,
                alarm=alarm,
            )
        )
        errors = {"belt": error} if error else {}
        self.say(
            health(
                site=site,
                device=device,
                instance=totals.instance,
                bundle_errors=errors,
                bundle_unfetched=("belt",) if unfetched else (),
            )
        )

    def report_budget(self, device: str, *, frames_per_false_alarm: float, site: str = "north") -> None:
        """An alert of long ago, by which the server knows the device's budget."""
        budget = alert(
            site=site,
            device=device,
            instance=self.totals[site, device].instance,
            status=AlertStatus.CLEARED,
            frames_per_false_alarm=frames_per_false_alarm,
        )
        self.say(budget)

    def leave(self, device: str, *, site: str = "north") -> None:
        self.say(state(DeviceStatus.OFFLINE, site=site, device=device, instance=INSTANCE, streams=("belt",)))

    def reset(self, device: str, *, site: str = "north", instance: str = "b" * 16) -> None:
        """A new store: totals begin again, and so does what it runs."""
        self.totals[site, device] = Totals(frames=0, instance=instance)
        self.say(state(site=site, device=device, instance=instance, streams=("belt",)))

    def say(self, message: DeviceMessage) -> None:
        key = (message.site, message.device)
        self.known[key] = apply(self.known.get(key), kept(message), self.clock.wall)

    def devices(self) -> list[Device]:
        return list(self.known.values())


class Broker:
    """Keeps what is published retained, as a broker would."""

    def __init__(self) -> None:
        self.up = True
        self.retained: dict[str, CommandMessage] = {}
        self.published: list[str] = []

    def publish(self, topic: str, payload: bytes) -> bool:
        if not self.up:
            return False
        self.published.append(parse(topic).device)
        if payload:
            self.retained[topic] = decode(CommandMessage, payload, topic=topic)
        else:
            self.retained.pop(topic, None)
        return True

    def wanted(self, device: str, *, site: str = "north") -> tuple[BundleId, bool] | None:
        """What a device is told to run, and whether it is a step back."""
        command = self.retained.get(device_topic(site, device, DeviceTopic.COMMAND))
        if command is None:
            return None
        wanted = command.wanted["belt"]
        return BundleId(wanted.name, wanted.version), wanted.back

    def told(self) -> set[str]:
        """The devices that are told something."""
        return {parse(topic).device for topic in self.retained}


class Scene:
    """Rollouts over a simulated fleet and a simulated broker; all else is real.

    Args:
        folder: for bundles and the operators' file.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.fleet = FakeFleet(self.clock)
        self.broker = Broker()
        self.folder = folder
        self.bundles = folder / "bundles"
        self.bundles.mkdir()
        for bundle in (TOY1, TOY2, TOY3):
            make_bundle(self.bundles / f"{bundle}.driftprint", version=bundle.version, zipped=True)
        self.store = OperatorStore(folder / "operators.db")
        self.audit = Audit(self.store, self.clock)
        self.catalogue = Catalogue(self.bundles, cache=folder / "zips", trusted=None)
        self.links = BundleLinks(kept_secret(self.store), "http://server.example:8466")
        self.news: News | None = None
        self.rollouts = self.make_rollouts()

    def make_rollouts(self) -> Rollouts:
        return Rollouts(
            store=self.store,
            audit=self.audit,
            catalogue=self.catalogue,
            links=self.links,
            devices=self.fleet.devices,
            publish=self.broker.publish,
            clock=self.clock,
            settings=RolloutSettings(),
            stale_after_seconds=1e6,
            news=self.news,
        )

    def restart(self) -> None:
        """The server ends and starts again."""
        self.store.close()
        self.store = OperatorStore(self.folder / "operators.db")
        self.audit = Audit(self.store, self.clock)
        self.links = BundleLinks(kept_secret(self.store), "http://server.example:8466")
        self.rollouts = self.make_rollouts()

    def start(self, bundle: BundleId = TOY2, *, stages: tuple[int, ...] = (30, 100), **scope: str) -> str:
        """Start a rollout, take a look, and give its id."""
        order = Order(
            bundle, scope.get("stream"), scope.get("site"), scope.get("device"), stages, soak_seconds=SOAK_SECONDS
        )
        rollout = self.rollouts.start(order, "ann")
        self.rollouts.tick()
        return rollout.id

    def look(self, seconds: float = 5.0) -> None:
        """Time goes by, and the server takes a look."""
        self.clock.wall += seconds
        self.rollouts.tick()

    def follow(self, *devices: str, alarms: int = 0, frames: int = 1000) -> None:
        """Devices run what they are told to: they say so at once, and report when they have gone on for a while."""
        wanted = {device: self.broker.wanted(device) for device in devices or [each for _, each in self.fleet.totals]}
        following = {device: wish[0] for device, wish in wanted.items() if wish is not None}
        for device, bundle in following.items():
            if bundle != self.fleet.totals["north", device].bundle:
                self.fleet.report(device, bundle=bundle, frames=0)
        self.rollouts.tick()
        for device, bundle in following.items():
            self.fleet.report(device, bundle=bundle, frames=frames, alarms=alarms, alarm=alarms > 0)

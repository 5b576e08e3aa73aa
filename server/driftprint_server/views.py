"""The fleet as the page and other programs read it: ``/api/fleet`` and what is beneath it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from pydantic import BaseModel, ConfigDict

from driftprint.exposition import shown_ratio
from driftprint.messages import AlertMessage, AlertStatus, Cause, Vitals, WindowKind
from driftprint_server.device import Dated, Device, Liveness, Stream, raised_at
from driftprint_server.fleet import Fleet
from driftprint_server.records import WindowRecord

_MOST_ALERTS = 100


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class StreamView(_View):
    """A stream as it stands. Measurements are None where its device is not online, or has not reported."""

    stream: str
    alarm: bool
    bundle: str | None
    """Name and version, as in ``digits-1``."""
    window_at: float | None
    """When the latest report was recorded. Unix time by the server's clock, as all times here."""
    frames_per_second: float | None
    outlier_ratio: float | None
    """Of the window by count."""
    outlier_ratio_by_time: float | None
    evidence: float | None
    """1 and more is an alarm."""
    class_mix_alarm: bool
    camera_faults: tuple[Cause, ...]
    frames_total: int
    outliers_total: int
    faults_total: Mapping[str, int]
    alerts_total: int


class DeviceView(_View):
    """A device and its streams."""

    site: str
    device: str
    state: Liveness
    last_seen: float | None
    agent_version: str | None
    outbox_messages: int | None
    outbox_dropped_total: int | None
    streams: tuple[StreamView, ...]


class AlertView(_View):
    """An alert's latest revision."""

    site: str
    device: str
    stream: str
    alert_id: str
    status: AlertStatus
    current: bool
    """Whether it is raised still; an alert of a device that has since been reset is not, though never cleared."""
    cause: Cause
    raised_at: float
    updated_at: float
    outlier_ratio: float | None
    p0: float | None
    frames_per_false_alarm: float | None
    """These three for drift alone."""
    summary: str


class FleetView(_View):
    """All that is known, at one moment."""

    now: float
    """The server's Unix time."""
    devices: tuple[DeviceView, ...]
    alerts: tuple[AlertView, ...]
    """Current ones first, then the latest; 100 at most."""


class Figures(_View):
    """The fleet in figures."""

    devices: int
    devices_online: int
    streams: int
    streams_reporting: int
    """Of devices that are online."""
    frames_per_second: float
    """Of all of those."""
    alarms: int
    """Streams that an alert of drift is raised on."""
    current_alerts: int
    """Alerts of any cause that are raised."""


class ServerView(_View):
    """How the server itself is, and how much there is to ask it for anew."""

    problems: tuple[str, ...]
    """What keeps it from its work; empty where all is well."""
    waiting: int
    """Devices that wait to be let in."""
    changes: int
    """Another number whenever an operator may have changed something, until the server starts again."""


class SummaryView(_View):
    """What there is to know at a glance; a program that shows more fetches it when `version` is another."""

    now: float
    """The server's Unix time."""
    version: int
    """Another number whenever anything has changed, until the server starts again."""
    figures: Figures
    current_alerts: tuple[AlertView, ...]
    """The latest that are raised; 50 at most."""
    recent_alerts: tuple[AlertView, ...]
    """The latest that are over; 20 at most."""
    server: ServerView


class RowView(_View):
    """A stream of the fleet's table, with what is to be known of its device."""

    site: str
    device: str
    state: Liveness
    last_seen: float | None
    stream: StreamView | None
    """None for a device that has none."""
    outlier_ratios: tuple[float, ...]
    """Of its latest reports, the newest last; 60 at most."""


class RowsView(_View):
    """A page of the fleet's table."""

    now: float
    version: int
    total: int
    """Rows that were asked for, on this page or not."""
    all: int
    """Rows of the fleet: its streams, and the devices that have none."""
    rows: tuple[RowView, ...]


class ClassView(_View):
    """A predicted class within the window by count."""

    frames: int
    outlier_ratio: float


class HealthView(_View):
    """A device's latest word on itself; fields as in `driftprint.messages.HealthMessage`."""

    uptime_seconds: float
    outbox_messages: int
    outbox_dropped_total: int
    store_errors_total: int
    store_volatile: bool
    store_mended_total: int
    providers: Mapping[str, tuple[str, ...]]
    bundle_errors: Mapping[str, str]
    vitals: Vitals


class DetailedDeviceView(_View):
    """A device, with how it is and with its alerts."""

    now: float
    device: DeviceView
    heard_at: float
    """When it was first heard of."""
    health: HealthView | None
    health_at: float | None
    classes: Mapping[str, Mapping[str, ClassView]]
    """By stream and class, where the device is online."""
    alerts: tuple[AlertView, ...]
    """Current ones first, then the latest; 50 at most of a stream."""


class SiteView(_View):
    """Which bundles a site runs."""

    site: str
    streams: int
    bundles: Mapping[str, int]
    """Streams by bundle, as in ``digits-1``; the empty string is for those that have not reported."""


class BundleSpreadView(_View):
    """Which bundles run where."""

    now: float
    bundles: Mapping[str, int]
    """Streams of the whole fleet by bundle."""
    total: int
    """Sites that were asked for."""
    sites: tuple[SiteView, ...]


def fleet_view(fleet: Fleet, now: float, *, stale_after_seconds: float) -> FleetView:
    """The fleet at Unix time `now`."""
    devices = fleet.devices()
    return FleetView(
        now=now,
        devices=tuple(
            device_view(device, device.liveness(now, stale_after_seconds=stale_after_seconds)) for device in devices
        ),
        alerts=_alerts(devices)[:_MOST_ALERTS],
    )


def detailed_view(device: Device, liveness: Liveness, now: float) -> DetailedDeviceView:
    """One device at Unix time `now`."""
    classes = {}
    if liveness is Liveness.ONLINE:
        for stream in device.streams.values():
            for window in stream.window.message.windows if stream.window else ():
                if window.kind is WindowKind.COUNT:
                    classes[stream.name] = {
                        label: ClassView(frames=of_class.frames, outlier_ratio=of_class.outlier_ratio)
                        for label, of_class in window.classes.items()
                    }
    return DetailedDeviceView(
        now=now,
        device=device_view(device, liveness),
        heard_at=device.heard_at,
        health=HealthView.model_validate(device.health.message, from_attributes=True) if device.health else None,
        health_at=device.health.at if device.health else None,
        classes=classes,
        alerts=_alerts([device]),
    )


def device_view(device: Device, liveness: Liveness) -> DeviceView:
    """A device and its streams."""
    health = device.health.message if device.health else None
    return DeviceView(
        site=device.site,
        device=device.name,
        state=liveness,
        last_seen=device.last_seen,
        agent_version=device.state.message.agent_version if device.state else None,
        outbox_messages=health.outbox_messages if health else None,
        outbox_dropped_total=health.outbox_dropped_total if health else None,
        streams=tuple(stream_view(device, stream, liveness) for stream in present_streams(device)),
    )


def present_streams(device: Device) -> list[Stream]:
    """Those that the agent runs, by name, whether they have reported yet or not."""
    running = device.state.message.streams if device.state else device.streams
    return [device.streams.get(name) or Stream(name) for name in sorted(set(running))]


class Standing(Struct, frozen=True, gc=False):
    """What is shown of a stream wherever it is.

    Attributes:
        alarm: whether an alert of drift is raised.
        bundle: as in ``digits-1``; None where nothing has been reported.
        measured: the latest report, if its measurements hold now: its device is online.
        outlier_ratio: that report's, in the window by count.
    """

    alarm: bool
    bundle: str | None
    measured: WindowRecord | None
    outlier_ratio: float | None


def standing(device: Device, stream: Stream, liveness: Liveness) -> Standing:
    """How a device's stream stands."""
    window = stream.window.message if stream.window else None
    measured = window if liveness is Liveness.ONLINE else None
    return Standing(
        alarm=stream.name in device.streams and device.alarm(stream.name),
        bundle=f"{window.bundle.name}-{window.bundle.version}" if window else None,
        measured=measured,
        outlier_ratio=shown_ratio(measured, WindowKind.COUNT) if measured else None,
    )


def stream_view(device: Device, stream: Stream, liveness: Liveness) -> StreamView:
    """A device's stream."""
    window = stream.window.message if stream.window else None
    stands = standing(device, stream, liveness)
    measured = stands.measured
    return StreamView(
        stream=stream.name,
        alarm=stands.alarm,
        bundle=stands.bundle,
        window_at=stream.window.at if stream.window else None,
        frames_per_second=measured.frames_per_second if measured else None,
        outlier_ratio=stands.outlier_ratio,
        outlier_ratio_by_time=shown_ratio(measured, WindowKind.TIME) if measured else None,
        evidence=measured.evidence if measured else None,
        class_mix_alarm=measured is not None and measured.class_mix_alarm,
        camera_faults=measured.camera_faults if measured else (),
        frames_total=window.frames_total if window else 0,
        outliers_total=window.outliers_total if window else 0,
        faults_total=window.faults_total if window else {},
        alerts_total=window.alerts_total if window else 0,
    )


def is_current(device: Device, stream: Stream, alert: Dated[AlertMessage]) -> bool:
    """Whether an alert is raised still; one of a device that has since been reset is not, though never cleared."""
    message = alert.message
    raised = message.status is not AlertStatus.CLEARED
    return raised and message.instance == device.instance and device.runs(stream.name)


def alert_view(device: Device, stream: Stream, alert: Dated[AlertMessage]) -> AlertView:
    """An alert of a device's stream."""
    message = alert.message
    return AlertView(
        site=device.site,
        device=device.name,
        stream=stream.name,
        alert_id=message.alert_id,
        status=message.status,
        current=is_current(device, stream, alert),
        cause=message.cause,
        raised_at=raised_at(alert),
        updated_at=alert.at,
        outlier_ratio=message.outlier_ratio,
        p0=message.p0,
        frames_per_false_alarm=message.frames_per_false_alarm,
        summary=message.summary,
    )


def _alerts(devices: Sequence[Device]) -> tuple[AlertView, ...]:
    """All alerts of some devices: current ones first, then the latest."""
    alerts = [
        alert_view(device, stream, alert)
        for device in devices
        for stream in device.streams.values()
        for alert in stream.alerts.values()
    ]
    return tuple(sorted(alerts, key=lambda alert: (not alert.current, -alert.raised_at, alert.alert_id)))

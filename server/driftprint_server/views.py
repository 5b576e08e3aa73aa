"""The fleet as the page and other programs read it: ``/api/fleet``."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from driftprint.messages import AlertMessage, AlertStatus, Cause, WindowKind
from driftprint_server.device import Dated, Device, Liveness, Stream, raised_at
from driftprint_server.fleet import Fleet

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


def fleet_view(fleet: Fleet, now: float, *, stale_after_seconds: float) -> FleetView:
    """The fleet at Unix time `now`."""
    devices = fleet.devices()
    alerts = [
        _alert(device, stream, alert)
        for device in devices
        for stream in device.streams.values()
        for alert in stream.alerts.values()
    ]
    alerts.sort(key=lambda alert: (not alert.current, -alert.raised_at, alert.alert_id))
    return FleetView(
        now=now,
        devices=tuple(
            _device(device, device.liveness(now, stale_after_seconds=stale_after_seconds)) for device in devices
        ),
        alerts=tuple(alerts[:_MOST_ALERTS]),
    )


def _device(device: Device, liveness: Liveness) -> DeviceView:
    health = device.health.message if device.health else None
    return DeviceView(
        site=device.site,
        device=device.name,
        state=liveness,
        last_seen=device.last_seen,
        agent_version=device.state.message.agent_version if device.state else None,
        outbox_messages=health.outbox_messages if health else None,
        outbox_dropped_total=health.outbox_dropped_total if health else None,
        streams=tuple(_stream(device, stream, liveness) for _, stream in sorted(_present_streams(device).items())),
    )


def _present_streams(device: Device) -> dict[str, Stream]:
    """Those that the agent runs, whether they have reported yet or not."""
    announced = device.state.message.streams if device.state else ()
    known = {name: stream for name, stream in device.streams.items() if device.runs(name)}
    return {name: Stream(name) for name in announced} | known


def _stream(device: Device, stream: Stream, liveness: Liveness) -> StreamView:
    window = stream.window.message if stream.window else None
    current = window if liveness is Liveness.ONLINE else None
    ratios = {stats.kind: stats.outlier_ratio for stats in current.windows if stats.frames} if current else {}
    return StreamView(
        stream=stream.name,
        alarm=stream.name in device.streams and device.alarm(stream.name),
        bundle=f"{window.bundle.name}-{window.bundle.version}" if window else None,
        window_at=stream.window.at if stream.window else None,
        frames_per_second=current.frames_per_second if current else None,
        outlier_ratio=ratios.get(WindowKind.COUNT),
        outlier_ratio_by_time=ratios.get(WindowKind.TIME),
        evidence=current.evidence if current else None,
        class_mix_alarm=current is not None and current.class_mix_alarm,
        camera_faults=current.camera_faults if current else (),
        frames_total=window.frames_total if window else 0,
        outliers_total=window.outliers_total if window else 0,
        faults_total=window.faults_total if window else {},
        alerts_total=window.alerts_total if window else 0,
    )


def _alert(device: Device, stream: Stream, alert: Dated[AlertMessage]) -> AlertView:
    message = alert.message
    raised = message.status is not AlertStatus.CLEARED
    return AlertView(
        site=device.site,
        device=device.name,
        stream=stream.name,
        alert_id=message.alert_id,
        status=message.status,
        current=raised and message.instance == device.instance and device.runs(stream.name),
        cause=message.cause,
        raised_at=raised_at(alert),
        updated_at=alert.at,
        outlier_ratio=message.outlier_ratio,
        p0=message.p0,
        frames_per_false_alarm=message.frames_per_false_alarm,
        summary=message.summary,
    )

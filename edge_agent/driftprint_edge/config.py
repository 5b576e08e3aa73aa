"""agent.toml as typed settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from driftprint.decision import DecisionSettings
from driftprint.mqtt import MqttSettings
from driftprint.settings import Settings, state_folder
from driftprint.topics import Id, StreamName
from driftprint_edge.camera import ALL_CHECKS, CameraCheckSettings, Check
from driftprint_edge.evidence import EvidenceSettings
from driftprint_edge.home_assistant import HomeAssistantSettings
from driftprint_edge.metrics import MetricsSettings
from driftprint_edge.sources import SourceSettings
from driftprint_edge.sources.video import CameraSettings, RtspSettings

SECONDS_PER_DAY = 86_400


def default_store_path() -> Path:
    """``agent.db`` in the state folder."""
    return state_folder() / "agent.db"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Table):
    """The table ``[store]``: what outlasts a restart."""

    path: Path = Field(default_factory=default_store_path)
    """An SQLite file: the outbox, the totals and the detectors' state. Its folder must be writable, and is made where
    it is missing."""
    max_messages: Annotated[int, Field(ge=100)] = 100_000
    """The outbox holds this many unacknowledged messages; beyond it the oldest windows go first, counted."""
    max_megabytes: Annotated[float, Field(ge=1)] = 200.0
    """And this many million bytes of them; beyond it likewise."""


class BundleSettings(_Table):
    """The table ``[bundles]``: whose bundles the streams may run."""

    trusted_keys: Path | None = None
    """A folder of public keys or certificates. With it every bundle must carry a signature that holds by one of them,
    and the server may send new ones."""
    path: Path | None = None
    """A folder for bundles that are fetched; without it ``bundles`` beside the store."""
    ca_file: Path | None = None
    """Certificate authority of the server that bundles are fetched from; without it the system's."""


class StreamSettings(_Table):
    """One ``[[stream]]``: a source and the bundle that watches it."""

    name: StreamName
    bundle: str
    """A bundle's path, or the name of a reference bundle."""
    source: SourceSettings
    decision: DecisionSettings = DecisionSettings()
    camera: CameraCheckSettings = CameraCheckSettings()
    frames_per_false_alarm: Annotated[float, Field(gt=10)] | None = None
    """The false-alarm budget in frames, instead of this stream's share of ``false_alarms_per_day``."""
    report_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """A window message is sent this often."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads one inference may use."""
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """onnxruntime execution providers, in order of preference; those that this machine lacks are passed over."""
    memory_arena: bool = True
    """Let onnxruntime keep memory from frame to frame. Off, a model's peak is given back, at some cost in time."""

    @property
    def camera_checks(self) -> tuple[Check, ...]:
        """The faults of the camera to look for."""
        if self.camera.checks is not None:
            return self.camera.checks
        return ALL_CHECKS if isinstance(self.source, CameraSettings | RtspSettings) else ()


def machine_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class AgentSettings(Settings):
    """The whole of agent.toml."""

    site: Id = "default"
    device: Id
    false_alarms_per_day: Annotated[float, Field(gt=0, le=1000)] = 0.1
    """The budget: on inliers, at most this many false alarms a day on average, over all streams of the device."""
    frames_at_once: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=machine_cores)
    """Frames of different streams that are worked on at the same time; beyond it streams take turns."""
    health_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """A health message is sent this often."""
    stall_seconds: Annotated[float, Field(ge=1, le=86_400)] = 120.0
    """Under systemd: when nothing has moved for so long, in a part that must, the watchdog is not fed."""
    mqtt: MqttSettings = MqttSettings()
    store: StoreSettings = Field(default_factory=StoreSettings)
    evidence: EvidenceSettings = EvidenceSettings()
    bundles: BundleSettings = BundleSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    metrics: MetricsSettings = MetricsSettings()
    stream: tuple[StreamSettings, ...] = Field(min_length=1, max_length=64)

    @field_validator("stream")
    @classmethod
    def _names_differ(cls, streams: tuple[StreamSettings, ...]) -> tuple[StreamSettings, ...]:
        names = [stream.name for stream in streams]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two streams are named {sorted(twice)[0]!r}")
        return streams

    @property
    def evidence_path(self) -> Path:
        """The folder of the kept frames."""
        return self.evidence.path or self.store.path.parent / "evidence"

    @property
    def bundles_path(self) -> Path:
        """The folder of fetched bundles."""
        return self.bundles.path or self.store.path.parent / "bundles"

    def frames_per_false_alarm(self, stream: StreamSettings) -> float:
        """The mean run length to a false alarm that `stream` must keep, in frames.

        The device's budget is shared evenly: with n streams, each may spend 1/n of it.
        """
        if stream.frames_per_false_alarm is not None:
            return stream.frames_per_false_alarm
        share = self.false_alarms_per_day / len(self.stream)
        return stream.source.frames_per_second * SECONDS_PER_DAY / share

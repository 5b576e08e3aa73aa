"""The messages between devices and server: one pydantic model each, as JSON in UTF-8.

Every message is a *state*, not an increment: totals that never fall, ids made once. Receiving one twice,
late or out of order therefore changes nothing. Unknown fields are ignored, so that a newer device can talk
to an older server; an unknown major version is refused.

A device's clock is not trusted. Beside its wall time every message says how old it was, by the device's
monotonic clock, when it was sent.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from driftprint.errors import MessageError
from driftprint.topics import Id, StreamName

SCHEMA = 1
"""The major version of the messages. Raised only when an older reader would misunderstand."""

MAX_MESSAGE_BYTES = 256 * 1024
"""Larger payloads are refused unread."""

MOST_THUMBNAIL_BYTES = 32 * 1024

Count = Annotated[int, Field(ge=0, lt=2**63)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
WallTime = Annotated[float, Field(allow_inf_nan=False, description="Unix time in seconds, by the device's clock")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Label = Annotated[str, Field(max_length=128)]
MOST_TEXT = 1024
Text = Annotated[str, Field(max_length=MOST_TEXT)]
InstanceId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, serialize_by_alias=True)

    schema_: int = Field(default=SCHEMA, alias="schema")


class DeviceMessage(_Message):
    """What every message of a device carries."""

    site: Id
    device: Id
    instance: InstanceId
    """Made once, when the device's store was created. A new one means that totals start again from nought."""


class DeviceStatus(str, Enum):
    """Whether a device's agent is connected."""

    ONLINE = "online"
    OFFLINE = "offline"


class StateMessage(DeviceMessage):
    """Whether the agent runs. Retained; the broker publishes the offline one as the agent's last will."""

    status: DeviceStatus
    agent_version: Label = ""
    started_at: WallTime = 0.0
    streams: tuple[StreamName, ...] = Field(default=(), max_length=64)


class Vitals(BaseModel):
    """One reading of how the device itself is; None: this machine does not tell."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    cpu_ratio: Ratio | None = None
    """Share of the time of all cores in which they were busy, since the reading before."""
    process_cpu_ratio: Ratio | None = None
    """The agent's share of the time of all cores, since the reading before."""
    process_memory_bytes: Count | None = None
    """The agent's memory that is in RAM."""
    memory_bytes: Count | None = None
    """RAM of the machine."""
    memory_available_bytes: Count | None = None
    """RAM that programs can have without swapping."""
    temperature_celsius: Finite | None = None
    """Of the hottest of the machine's thermal zones."""
    throttled: bool | None = None
    """Whether the processor is slowed down, by heat or for want of power."""
    throttled_since_boot: bool | None = None
    """Whether it has been, since the machine started."""
    under_voltage: bool | None = None
    """Whether the supply is too weak; a Raspberry Pi tells."""
    under_voltage_since_boot: bool | None = None
    """Whether it has been, since the machine started."""
    disk_bytes: Count | None = None
    """Size of the file system that holds the store."""
    disk_free_bytes: Count | None = None
    """What the agent can still write to it."""


class HealthMessage(DeviceMessage):
    """How the agent itself is. Not kept in the outbox: the next one replaces it."""

    uptime_seconds: Seconds
    """By the monotonic clock, since the agent started."""
    outbox_messages: Count
    """Messages that the server has not acknowledged yet."""
    outbox_dropped_total: Count
    """Messages dropped because the outbox was full, since the instance was made."""
    store_errors_total: Count = 0
    """Writes that the disk refused, since the agent started."""
    providers: dict[StreamName, tuple[Label, ...]] = Field(default_factory=dict, max_length=64)
    """By stream: the execution providers that onnxruntime really uses, in order."""
    vitals: Vitals = Vitals()
    bundle_errors: dict[StreamName, Text] = Field(default_factory=dict, max_length=64)
    """By stream: why it does not run the bundle that was wanted, or has gone back to the one before."""
    bundle_unfetched: tuple[StreamName, ...] = Field(default=(), max_length=64)
    """Those of them for which it is only that the bundle cannot be fetched, which is tried again."""
    store_volatile: bool = False
    """Whether the disk takes no writes, so that the outbox is in memory alone."""
    store_mended_total: Count = 0
    """How often the store was damaged and has been made anew of what could be read, since the instance was made."""


class Wanted(BaseModel):
    """The bundle that a stream is to run."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    version: Count
    url: Annotated[str, Field(pattern=r"^https?://", max_length=2048)]
    """Of the bundle as a zip file. The device fetches it only where it asks for a signature."""
    back: bool = False
    """Take an older version too, if it has run there before."""


class CommandMessage(_Message):
    """Server to device, retained: what its streams are to run. A state, as all messages are: said again, it changes
    nothing.
    """

    wanted: dict[StreamName, Wanted] = Field(default_factory=dict, max_length=64)


class BundleRef(BaseModel):
    """Which bundle a message speaks of."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Label
    version: Count


class StreamMessage(DeviceMessage):
    """What every message of a stream carries.

    ``(instance, seq)`` names a message once and for all; the server's acknowledgement lists them.
    """

    stream: StreamName
    seq: Count = 0
    """Counts up within an instance; given by the outbox when the message is committed."""
    recorded_at: WallTime
    age_seconds: Seconds = 0.0
    """How long before sending it was recorded: by the monotonic clock within one start of the agent."""
    bundle: BundleRef


class ClassStats(BaseModel):
    """The frames of one predicted class within a window."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    frames: Count
    outlier_ratio: Ratio


class WindowKind(str, Enum):
    """What bounds a window."""

    COUNT = "count"
    TIME = "time"


class WindowStats(BaseModel):
    """A sliding window over a stream's scored frames."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: WindowKind
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Frames for a window by count, seconds for one by time."""
    frames: Count
    """Scored frames in the window now."""
    outlier_ratio: Ratio
    """Share of those that are outliers; 0 for an empty window."""
    score_quantiles: dict[Label, Finite] = Field(default_factory=dict, max_length=16)
    """Quantile (``"0.5"``, ``"0.9"``, ``"0.99"``) to score."""
    classes: dict[Label, ClassStats] = Field(default_factory=dict, max_length=1024)
    """By predicted class, where the model predicts classes."""


class Cause(str, Enum):
    """What an alert is about: drift, the mix of predicted classes, or one of the faults of a camera."""

    DRIFT = "drift"
    CLASS_MIX = "class_mix"
    MISSING = "missing"
    FROZEN = "frozen"
    BLACK = "black"
    BLOWN_OUT = "blown_out"
    COVERED = "covered"
    BLURRED = "blurred"


CAMERA_FAULTS = tuple(cause for cause in Cause if cause not in (Cause.DRIFT, Cause.CLASS_MIX))
"""Those that are faults of a camera."""


class WindowMessage(StreamMessage):
    """A stream's totals and its windows as they stand."""

    frames_total: Count
    """Frames scored since the instance was made."""
    outliers_total: Count
    faults_total: dict[Label, Count] = Field(default_factory=dict, max_length=32)
    """Frames that could not be scored, by reason."""
    alerts_total: Count
    """Alerts of drift raised since the instance was made."""
    frames_per_second: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    """Scored frames per second since the message before."""
    windows: tuple[WindowStats, ...] = Field(default=(), max_length=8)
    alarm: bool
    """Whether an alert of drift is raised now."""
    class_mix_alarm: bool = False
    """Whether an alert about the mix of predicted classes is raised now."""
    camera_faults: tuple[Cause, ...] = Field(default=(), max_length=16)
    """The faults of the camera that alerts are raised for now."""
    evidence: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """The detector's log evidence over the log of its threshold: 1 and more is an alarm."""


class Thumbnail(BaseModel):
    """A frame, made small."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    frame: Label
    """Its name at the source."""
    recorded_at: WallTime
    p_value: Ratio
    predicted: Label | None = None
    """The predicted class, where the model predicts classes."""
    jpeg: Annotated[bytes, Field(max_length=MOST_THUMBNAIL_BYTES)]
    """A JPEG file; as base64 in JSON."""


class AlertStatus(str, Enum):
    """Where an alert is in its life."""

    RAISED = "raised"
    UPDATED = "updated"
    CLEARED = "cleared"


class AlertMessage(StreamMessage):
    """One alert, from raise to clear under one id. The highest ``revision`` is the latest word on it."""

    alert_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    revision: Count
    status: AlertStatus
    cause: Cause
    raised_at: WallTime
    cleared_at: WallTime | None = None
    frames_total: Count
    """Scored frames of the stream when this revision was made."""
    outlier_ratio: Ratio | None = None
    """Of the window by count; this and the next for drift alone."""
    p0: Ratio | None = None
    """The outlier ratio that inliers stay under, which the detector tested against."""
    frames_per_false_alarm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The guarantee, for drift and the mix of classes: while all is normal the mean run length to an alarm is at least
    this many frames."""
    suspected_at: WallTime | None = None
    """Since when there has been evidence; this and the next three for drift alone."""
    layers: dict[Label, Ratio] = Field(default_factory=dict, max_length=64)
    """By fingerprinted tensor: the share of the window's outliers that stand out in this layer by itself."""
    classes: dict[Label, Ratio] = Field(default_factory=dict, max_length=64)
    """By predicted class: the share of the window's outliers that are taken for it; the most frequent ones."""
    thumbnails: tuple[Thumbnail, ...] = Field(default=(), max_length=4)
    """Of the most outlying frames, the most outlying one first; only where the device's user lets frames leave it."""
    summary: Text
    """A sentence or two for a person."""


class AckMessage(_Message):
    """Server to device: these messages are stored and may be forgotten."""

    instance: InstanceId
    seqs: tuple[Count, ...] = Field(max_length=1000)


M = TypeVar("M", bound=_Message)


class _Version(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    schema_: int = Field(alias="schema")


def encode(message: _Message) -> bytes:
    """A message as JSON in UTF-8."""
    return message.model_dump_json(exclude_none=True).encode()


def decode(model: type[M], payload: bytes, *, topic: str) -> M:
    """Parse a payload into `model`.

    Args:
        model: the message's type.
        payload: JSON in UTF-8.
        topic: where it came from, for the error.

    Raises:
        MessageError: with reason ``too_large``, ``schema_version`` or ``invalid``.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(
            f"{len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are read", reason="too_large", where=topic
        )
    try:
        message = model.model_validate_json(payload)
    except (ValidationError, RecursionError) as error:
        raise _explain(error, payload, topic) from None
    if message.schema_ != SCHEMA:
        raise MessageError(
            f"schema {message.schema_}, this version reads {SCHEMA}", reason="schema_version", where=topic
        )
    return message


def _explain(error: ValidationError | RecursionError, payload: bytes, topic: str) -> MessageError:
    """Tell a message of another version from a broken one: its fields may well differ from ours."""
    try:
        version = _Version.model_validate_json(payload).schema_
    except (ValidationError, RecursionError):
        version = SCHEMA
    if version != SCHEMA:
        return MessageError(f"schema {version}, this version reads {SCHEMA}", reason="schema_version", where=topic)
    if isinstance(error, RecursionError):
        return MessageError("nested too deeply", reason="invalid", where=topic)
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "payload"
    return MessageError(f"{field}: {first['msg']}", reason="invalid", where=topic)


def with_age(payload: bytes, age_seconds: float) -> bytes:
    """The same stored message with its age at sending filled in."""
    body = json.loads(payload)
    body["age_seconds"] = max(0.0, age_seconds)
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

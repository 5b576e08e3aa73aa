"""What the server keeps of the messages that come most: the same fields as in `driftprint.messages`, in a tenth of the
room and read in a fifth of the time.

A large fleet is windows and health reports, hundreds of thousands of them. These classes have no word of their own on
what is valid: a payload that does not fit one is read by the model of `driftprint.messages`, and only what that takes
becomes a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from driftprint.messages import (
    MAX_MESSAGE_BYTES,
    SCHEMA,
    AlertMessage,
    Cause,
    DeviceMessage,
    HealthMessage,
    StateMessage,
    WindowKind,
    WindowMessage,
    decode,
    encode,
)
from driftprint.topics import A_STREAM, AN_ID

_BY_COUNT, _BY_TIME = WindowKind.COUNT, WindowKind.TIME  # an enumeration is slow to give its members

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0)]
_Id = Annotated[str, msgspec.Meta(pattern=rf"^{AN_ID}\Z")]
_Stream = Annotated[str, msgspec.Meta(pattern=rf"^{A_STREAM}\Z")]
_Instance = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
_Label = Annotated[str, msgspec.Meta(max_length=128)]
_Text = Annotated[str, msgspec.Meta(max_length=1024)]


# None of these can be part of a cycle, so the garbage collector need not look at them.
class _Record(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    pass


class ClassRecord(_Record, frozen=True, gc=False, kw_only=True):
    """As `driftprint.messages.ClassStats`."""

    frames: _Count
    outlier_ratio: _Ratio


class CountStatsRecord(_Record, frozen=True, gc=False, kw_only=True, tag_field="kind", tag=WindowKind.COUNT.value):
    """As `driftprint.messages.WindowStats`, of a window by count."""

    limit: Annotated[float, msgspec.Meta(gt=0)]
    frames: _Count
    outlier_ratio: _Ratio
    score_quantiles: Annotated[dict[_Label, float], msgspec.Meta(max_length=16)] = {}
    classes: Annotated[dict[_Label, ClassRecord], msgspec.Meta(max_length=1024)] = {}

    @property
    def kind(self) -> WindowKind:
        """By count."""
        return _BY_COUNT


class TimeStatsRecord(_Record, frozen=True, gc=False, kw_only=True, tag_field="kind", tag=WindowKind.TIME.value):
    """As `driftprint.messages.WindowStats`, of a window by time. Only the ratio of these is ever shown."""

    limit: Annotated[float, msgspec.Meta(gt=0)]
    frames: _Count
    outlier_ratio: _Ratio

    @property
    def kind(self) -> WindowKind:
        """By time."""
        return _BY_TIME

    @property
    def score_quantiles(self) -> Mapping[str, float]:
        """Not kept."""
        return {}

    @property
    def classes(self) -> Mapping[str, ClassRecord]:
        """Not kept."""
        return {}


class BundleRecord(_Record, frozen=True, gc=False, kw_only=True):
    """As `driftprint.messages.BundleRef`."""

    name: _Label
    version: _Count


class DeviceRecord(_Record, frozen=True, gc=False, kw_only=True):
    """As `driftprint.messages.DeviceMessage`."""

    schema_: int = msgspec.field(default=SCHEMA, name="schema")
    site: _Id
    device: _Id
    instance: _Instance


class WindowRecord(DeviceRecord, frozen=True, gc=False, kw_only=True):
    """As `driftprint.messages.WindowMessage`."""

    stream: _Stream
    seq: _Count = 0
    recorded_at: float
    age_seconds: _NotNegative = 0.0
    bundle: BundleRecord
    frames_total: _Count
    outliers_total: _Count
    faults_total: Annotated[dict[_Label, _Count], msgspec.Meta(max_length=32)] = {}
    alerts_total: _Count
    frames_per_second: Annotated[float, msgspec.Meta(ge=0, le=1e6)]
    windows: Annotated[tuple[CountStatsRecord | TimeStatsRecord, ...], msgspec.Meta(max_length=8)] = ()
    alarm: bool
    class_mix_alarm: bool = False
    camera_faults: Annotated[tuple[Cause, ...], msgspec.Meta(max_length=16)] = ()
    evidence: _NotNegative


class VitalsRecord(_Record, frozen=True, gc=False, kw_only=True):
    """As `driftprint.messages.Vitals`."""

    cpu_ratio: _Ratio | None = None
    process_cpu_ratio: _Ratio | None = None
    process_memory_bytes: _Count | None = None
    memory_bytes: _Count | None = None
    memory_available_bytes: _Count | None = None
    temperature_celsius: float | None = None
    throttled: bool | None = None
    throttled_since_boot: bool | None = None
    under_voltage: bool | None = None
    under_voltage_since_boot: bool | None = None
    disk_bytes: _Count | None = None
    disk_free_bytes: _Count | None = None


class HealthRecord(DeviceRecord, frozen=True, gc=False, kw_only=True):
    """As `driftprint.messages.HealthMessage`."""

    uptime_seconds: _NotNegative
    outbox_messages: _Count
    outbox_dropped_total: _Count
    store_errors_total: _Count = 0
    providers: Annotated[dict[_Stream, tuple[_Label, ...]], msgspec.Meta(max_length=64)] = {}
    vitals: VitalsRecord = VitalsRecord()
    bundle_errors: Annotated[dict[_Stream, _Text], msgspec.Meta(max_length=64)] = {}
    store_volatile: bool = False
    store_mended_total: _Count = 0
    bundle_unfetched: Annotated[tuple[_Stream, ...], msgspec.Meta(max_length=64)] = ()


class AckRecord(_Record, frozen=True, gc=False, kw_only=True):
    """As `driftprint.messages.AckMessage`."""

    schema_: int = msgspec.field(default=SCHEMA, name="schema")
    instance: str
    seqs: tuple[int, ...]


FleetMessage: TypeAlias = StateMessage | AlertMessage | WindowRecord | HealthRecord
"""What the fleet takes in."""

STREAM_MESSAGES = (WindowRecord, AlertMessage)
"""What a stream says; its device waits for the answer."""

R = TypeVar("R", WindowRecord, HealthRecord)

_encode = msgspec.json.Encoder().encode
_decode_window = msgspec.json.Decoder(WindowRecord).decode
_decode_health = msgspec.json.Decoder(HealthRecord).decode


def read_window(payload: bytes, *, topic: str) -> WindowRecord:
    """Read a window message.

    Args:
        payload: JSON in UTF-8.
        topic: where it came from, for the error.

    Raises:
        MessageError: as `driftprint.messages.decode` does.
    """
    return _read(_decode_window, payload) or of_window(decode(WindowMessage, payload, topic=topic))


def read_health(payload: bytes, *, topic: str) -> HealthRecord:
    """Read a health message; see `read_window`."""
    return _read(_decode_health, payload) or of_health(decode(HealthMessage, payload, topic=topic))


def of_window(message: WindowMessage) -> WindowRecord:
    """The record of a message."""
    return _decode_window(encode(message))


def of_health(message: HealthMessage) -> HealthRecord:
    """The record of a message."""
    return _decode_health(encode(message))


def kept(message: DeviceMessage | FleetMessage) -> FleetMessage:
    """A message as the fleet keeps it."""
    match message:  # records first: they are the most, and a model takes its time to say whether something is one
        case WindowRecord() | HealthRecord() | StateMessage() | AlertMessage():
            return message
        case WindowMessage():
            return of_window(message)
        case HealthMessage():
            return of_health(message)
    raise TypeError(f"devices do not send {type(message).__name__}")


def encode_record(record: DeviceRecord | AckRecord) -> bytes:
    """A record as JSON in UTF-8, to be read again."""
    return _encode(record)


def _read(decode_payload: Callable[[bytes], R], payload: bytes) -> R | None:
    """The record, or None: then the message's model knows what is wrong, if anything is."""
    if len(payload) > MAX_MESSAGE_BYTES:
        return None
    try:
        record = decode_payload(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return record if record.schema_ == SCHEMA else None

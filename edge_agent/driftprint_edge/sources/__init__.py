"""Where frames come from. A source is one file here and one line in `SourceSettings`."""

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from driftprint_edge.sources.base import Source
from driftprint_edge.sources.folder import FolderSettings
from driftprint_edge.sources.http import HttpSettings
from driftprint_edge.sources.mqtt import MqttSourceSettings
from driftprint_edge.sources.replay import ReplaySettings
from driftprint_edge.sources.socket import SocketSettings
from driftprint_edge.sources.video import CameraSettings, RtspSettings

__all__ = ["Source", "SourceSettings"]


def _kind(table: Any) -> str:
    """In parentheses, by which `driftprint.settings.explain` knows that it is no field."""
    kind = table.get("kind", "replay") if isinstance(table, dict) else getattr(table, "kind", "")
    return f"({kind})"


SourceSettings: TypeAlias = Annotated[
    Annotated[ReplaySettings, Tag("(replay)")]
    | Annotated[CameraSettings, Tag("(camera)")]
    | Annotated[RtspSettings, Tag("(rtsp)")]
    | Annotated[FolderSettings, Tag("(folder)")]
    | Annotated[MqttSourceSettings, Tag("(mqtt)")]
    | Annotated[HttpSettings, Tag("(http)")]
    | Annotated[SocketSettings, Tag("(socket)")],
    Discriminator(
        _kind,
        custom_error_type="source_kind",
        custom_error_message="kind is one of replay, camera, rtsp, folder, mqtt, http, socket",
    ),
]
"""What every source of frames is."""

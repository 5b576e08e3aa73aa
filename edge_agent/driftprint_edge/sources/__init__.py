"""Where frames come from. A source is one file here and one line in `SourceSettings`."""

from driftprint_edge.sources.base import Source
from driftprint_edge.sources.replay import ReplaySettings

__all__ = ["Source", "SourceSettings"]

SourceSettings = ReplaySettings

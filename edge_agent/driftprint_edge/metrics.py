"""The device's own ``/metrics``, for those who scrape devices directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from driftprint.clock import Clock
from driftprint.errors import MissingExtraError
from driftprint.messages import DeviceMessage

if TYPE_CHECKING:
    from driftprint_edge.scrape import DeviceCollector, ScrapeServer


class MetricsSettings(BaseModel):
    """The table ``[metrics]``: the device's own ``/metrics``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address to listen on. There is no login and no TLS: let nobody else in but on purpose."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Without it there is none."""


class Metrics:
    """Shows the agent's latest messages at ``/metrics``, if its user wants that; else does nothing.

    Args:
        settings: whether and where.
        site: the device's site.
        device: its id.
        report_seconds: by stream, for all of them, how often it sends a window message. Its gauges vanish when it has
            sent none for three times as long.
        health_seconds: how often a health message is taken; likewise.
        clock: tells what is old.

    Raises:
        MissingExtraError: where it is wanted, without the extra "metrics".
    """

    def __init__(
        self,
        settings: MetricsSettings,
        *,
        site: str,
        device: str,
        report_seconds: Mapping[str, float],
        health_seconds: float,
        clock: Clock,
    ) -> None:
        self._collector: DeviceCollector | None = None
        self._server: ScrapeServer | None = None
        if settings.port is None:
            return
        try:
            from driftprint_edge.scrape import DeviceCollector, ScrapeServer
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"metrics.port needs the package {error.name}", extra="metrics") from None
        self._collector = DeviceCollector(
            site=site, device=device, report_seconds=report_seconds, health_seconds=health_seconds, clock=clock
        )
        self._server = ScrapeServer(self._collector, settings.host, settings.port)

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: where that is not possible, as while another program listens there.
        """
        if self._server is not None:
            self._server.start()

    def take(self, message: DeviceMessage) -> None:
        """A message has been made. Each stream's must come in order; from any thread."""
        if self._collector is not None:
            self._collector.take(message)

    def close(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()

"""server.toml as typed settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from driftprint.errors import ConfigError
from driftprint.mqtt import MqttSettings
from driftprint.settings import Settings, explain, load_settings, state_folder
from driftprint_server.access.settings import AccessSettings
from driftprint_server.caps import CapSettings
from driftprint_server.enrolment.settings import EnrolmentSettings
from driftprint_server.history.settings import HistorySettings
from driftprint_server.remote_write.settings import RemoteWriteSettings
from driftprint_server.rollout.settings import RolloutSettings
from driftprint_server.webhooks.settings import WebhookSettings

DAY_SECONDS = 86_400.0


def default_store_path() -> Path:
    """``server.db`` in the state folder."""
    return state_folder() / "server.db"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BrokerSettings(MqttSettings):
    """The table ``[mqtt]``: where the broker is, as in agent.toml, and who we are there."""

    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "driftprint-server"
    """The broker keeps our subscriptions and waiting messages under this name while we are away."""
    share: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """The name of a group of replicas: this server is then one of them, takes its share of the messages, writes them by
    remote write, and keeps nothing itself. Whoever knows the name could join: keep it secret."""
    acknowledge: bool = True
    """Whether devices are told what is stored here. False for a server beside replicas, which then do so: it takes the
    same messages in, and what it has missed nobody sends again."""


class HttpSettings(_Table):
    """The table ``[http]``: the page, the API, ``/metrics`` and ``/healthz``."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address to listen on. For anything but the loopback give a certificate, or put a proxy before it."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8466
    cert_file: Path | None = None
    """TLS: the certificate, then those of the authorities between. A renewed one is taken up by itself."""
    key_file: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> HttpSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class StoreSettings(_Table):
    """The table ``[store]``: what outlasts a restart."""

    path: Path = Field(default_factory=default_store_path)
    """An SQLite file. Its folder must be writable, and is made where it is missing."""


class FleetSettings(_Table):
    """The table ``[fleet]``: how long a device may be silent, and how many there may be."""

    stale_after_seconds: Annotated[float, Field(ge=1, le=DAY_SECONDS)] = 60.0
    """A device that says nothing for this long is stale: it counts as down, its gauges vanish."""
    forget_after_seconds: Annotated[float, Field(ge=60, allow_inf_nan=False)] = 7 * DAY_SECONDS
    """A device that says nothing for this long is forgotten, with its counters."""
    max_devices: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Messages of further devices are rejected and counted, so that a fault cannot fill the memory."""
    max_classes: Annotated[int, Field(ge=0, le=1024)] = 20
    """Predicted classes per stream in the metrics: those with the most frames in the window."""

    @model_validator(mode="after")
    def _consistent(self) -> FleetSettings:
        if self.forget_after_seconds <= self.stale_after_seconds:
            raise ValueError("forget_after_seconds must be more than stale_after_seconds")
        return self


class ServerSettings(Settings):
    """The whole of server.toml."""

    mqtt: BrokerSettings = BrokerSettings()
    http: HttpSettings = HttpSettings()
    store: StoreSettings = Field(default_factory=StoreSettings)
    fleet: FleetSettings = FleetSettings()
    access: AccessSettings = AccessSettings()
    enrolment: EnrolmentSettings = EnrolmentSettings()
    caps: CapSettings = CapSettings()
    history: HistorySettings = HistorySettings()
    rollout: RolloutSettings = RolloutSettings()
    remote_write: tuple[RemoteWriteSettings, ...] = ()
    webhook: tuple[WebhookSettings, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ServerSettings:
        if self.mqtt.share is not None and not self.remote_write:
            raise ValueError("mqtt.share needs remote_write: a replica keeps nothing itself")
        if self.mqtt.share is not None and not self.mqtt.acknowledge:
            raise ValueError("mqtt.acknowledge: a replica, which has mqtt.share, must acknowledge")
        targets = [target.target for target in self.remote_write]
        if len(set(targets)) < len(targets):
            raise ValueError("remote_write: two targets have one host and port")
        return self

    @property
    def broker(self) -> str:
        """The broker's address, for people."""
        return f"{self.mqtt.host}:{self.mqtt.port}"


def read_settings(path: Path | None) -> ServerSettings:
    """The settings of a file, or the defaults with the environment over them.

    Raises:
        ConfigError: naming the file and the first wrong field.
    """
    if path is not None:
        return load_settings(path, ServerSettings)
    try:
        return ServerSettings()
    except ValidationError as error:
        raise ConfigError(explain(error), where="environment") from None

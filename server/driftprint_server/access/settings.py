"""The table ``[access]`` of server.toml."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from driftprint.errors import ConfigError

_Hours = Annotated[float, Field(ge=0.1, le=24 * 366)]


class AccessSettings(BaseModel):
    """The table ``[access]``: who may see the page, the API and the metrics."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    login: bool = True
    """Whether anybody must log in. False: whoever reaches the server is an operator; only on the loopback."""
    metrics: Literal["open", "login"] = "open"
    """Who may read ``/metrics``: everybody, as with other exporters, or only who sends a token or a password."""
    idle_hours: _Hours = 12.0
    """Who does nothing for this long is logged out. An open page does something."""
    session_hours: _Hours = 168.0
    """Who logged in this long ago is logged out."""
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")], ...] = ()
    """The names, without port, by which browsers may call the server, beside the loopback's. Empty: any name where
    there is a login, none other where there is not."""


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine itself.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_open(access: AccessSettings, host: str) -> None:
    """Without a login only this machine may be served.

    Args:
        access: as it is set.
        host: the address that will be listened on.

    Raises:
        ConfigError: where others could reach a server that has no login.
    """
    if not access.login and not is_loopback(host):
        raise ConfigError(
            f"login = false lets everybody who reaches {host} act",
            where="access.login",
            fix='leave it true, or set host = "127.0.0.1" in [http]',
        )

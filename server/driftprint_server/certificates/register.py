"""What an authority has issued: ``issued.json`` in its folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from driftprint.errors import ConfigError
from driftprint_server.certificates.files import SECRET, read, write
from driftprint_server.certificates.holder import Holder, Kind


class Issued(BaseModel):
    """One certificate.

    Attributes:
        kind: what its holder is.
        name: its common name.
        serial: its number, in hexadecimal.
        until: its last moment.
        revoked: when it was revoked, if it was.
        hosts: the names and addresses of a broker.
        home_assistant: the discovery prefix of those who speak with Home Assistant.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    name: str
    serial: str
    until: datetime
    revoked: datetime | None = None
    hosts: tuple[str, ...] = ()
    home_assistant: str | None = None

    @property
    def holder(self) -> Holder:
        """Whom it is for."""
        return Holder(self.kind, self.name)


class Register(BaseModel):
    """All certificates that were ever issued, in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    issued: tuple[Issued, ...] = ()

    def valid(self) -> dict[str, Issued]:
        """By name, the latest of each holder's certificates that is not revoked. It may have expired."""
        return {one.name: one for one in self.issued if one.revoked is None}

    def with_issued(self, one: Issued) -> Register:
        """The same and one more."""
        return self.model_copy(update={"issued": (*self.issued, one)})

    def with_revoked(self, name: str, now: datetime) -> Register:
        """The same, with all certificates of a holder revoked."""
        issued = (
            one.model_copy(update={"revoked": now}) if one.name == name and one.revoked is None else one
            for one in self.issued
        )
        return self.model_copy(update={"issued": tuple(issued)})


def read_register(path: Path) -> Register:
    """The register in a file.

    Raises:
        ConfigError: where it cannot be read.
    """
    try:
        return Register.model_validate_json(read(path))
    except ValidationError:
        raise ConfigError("not a register of certificates", where=str(path), fix="restore it from a copy") from None


def write_register(register: Register, path: Path) -> None:
    """Put the register into a file, at once or not at all.

    Raises:
        ConfigError: where it cannot be written.
    """
    write(path, register.model_dump_json(indent=1, exclude_none=True).encode() + b"\n", mode=SECRET)

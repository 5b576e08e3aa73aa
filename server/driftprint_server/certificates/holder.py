"""Whom a certificate is for, and the name that it carries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydantic import TypeAdapter, ValidationError

from driftprint.errors import ConfigError
from driftprint.topics import Id

LONGEST_NAME = 64
"""Of a certificate's common name (ub-common-name in RFC 5280)."""
DEFAULT_SITE = "default"

_ID = TypeAdapter(Id)


class Kind(str, Enum):
    """What a certificate's holder is."""

    BROKER = "broker"
    SERVER = "server"
    DEVICE = "device"
    READER = "reader"
    """Reads what devices say: Home Assistant, or a program of yours."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who gets a certificate.

    Attributes:
        kind: what they are.
        name: the certificate's common name, and so the user's name at the broker. Devices have ``DEVICE@SITE`` and
            nobody else has an ``@``, which is in no id: a device can be named like no server, and like no device of
            another site.
    """

    kind: Kind
    name: str

    @property
    def device(self) -> str:
        """A device's id; the whole name of all others."""
        return self.name.partition("@")[0]

    @property
    def site(self) -> str:
        """A device's site; empty for all others."""
        return self.name.partition("@")[2]


def holder_of(kind: Kind, name: str) -> Holder:
    """Check a name as a user gives it.

    Args:
        kind: what its holder is.
        name: of a device ``DEVICE@SITE``, or ``DEVICE`` alone at the site "default"; an id of all others.

    Raises:
        ConfigError: where it is none, or too long for a certificate.

    >>> holder_of(Kind.DEVICE, "line-3").name
    'line-3@default'
    """
    if kind is Kind.DEVICE and "@" not in name:
        name = f"{name}@{DEFAULT_SITE}"
    for part in name.split("@", 1) if kind is Kind.DEVICE else (name,):
        try:
            _ID.validate_python(part)
        except ValidationError:
            form = "DEVICE or DEVICE@SITE" if kind is Kind.DEVICE else "one id"
            raise ConfigError(
                f"not the name of a {kind.value}",
                where=repr(name),
                fix=f"give {form}: ids are 1 to 64 letters, digits, _, . and -",
            ) from None
        if part.strip(".") == "":
            raise ConfigError("not a name: dots alone", where=repr(name), fix="choose another")
    if len(name) > LONGEST_NAME:
        raise ConfigError(
            f"{len(name)} characters, and a certificate's name has room for {LONGEST_NAME}",
            where=repr(name),
            fix="choose shorter ids",
        )
    return Holder(kind, name)

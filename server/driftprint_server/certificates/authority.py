"""An authority's folder: what it has issued, and for each holder a folder with all that they need.

==========================  ============================================================
``authority.key``           whoever has it can be anybody; everything else is public
                            or can be made again
``authority.pem``
``issued.json``             what was issued and revoked
``broker/``                 for the broker: its certificate and key, ``ca.pem``,
                            ``acl`` and ``revoked.pem``
``devices/DEVICE@SITE/``    for a device: ``DEVICE.pem``, ``DEVICE.key``, ``ca.pem``
``servers/NAME/``           likewise
``readers/NAME/``           likewise
==========================  ============================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from driftprint.errors import ConfigError
from driftprint_server.certificates import issuing
from driftprint_server.certificates.access import access_file
from driftprint_server.certificates.files import PUBLIC, SECRET, make_folder, read, write
from driftprint_server.certificates.holder import Holder, Kind
from driftprint_server.certificates.register import Issued, Register, read_register, write_register

AUTHORITY_DAYS = 3650
DAYS = 398
"""As long as certificates on the web may last at most, since 2020."""
AUTHORITY_NAME = "driftprint authority"


@dataclass(frozen=True, slots=True)
class Files:
    """What a holder needs, in a folder of their own.

    Attributes:
        folder: where they are.
        ca: the authority's certificate.
        certificate: the holder's own.
        key: its private key.
    """

    folder: Path
    ca: Path
    certificate: Path
    key: Path


class Office:
    """Issues, renews and revokes. One command at a time may work in a folder.

    Args:
        folder: made by `found`.
        now: the present moment.

    Raises:
        ConfigError: where there is no authority in the folder, or not a whole one.
    """

    def __init__(self, folder: Path, *, now: datetime) -> None:
        if not (folder / "authority.key").exists():
            raise ConfigError(
                "no authority is there", where=str(folder), fix="make one with: driftprint certificates init"
            )
        self.folder = folder
        self._now = now
        self._authority = issuing.load_authority(
            read(folder / "authority.key"), read(folder / "authority.pem"), where=str(folder)
        )
        self.register = read_register(folder / "issued.json")

    @property
    def hosts(self) -> tuple[str, ...]:
        """The broker's names and addresses; none before it has a certificate."""
        return next((one.hosts for one in self.register.valid().values() if one.kind is Kind.BROKER), ())

    @property
    def broker(self) -> Path:
        """The broker's folder."""
        return self.folder / "broker"

    def files(self, holder: Holder) -> Files:
        """Where a holder's files are."""
        folder = self.broker if holder.kind is Kind.BROKER else self.folder / f"{holder.kind.value}s" / holder.name
        return Files(folder, folder / "ca.pem", folder / f"{holder.device}.pem", folder / f"{holder.device}.key")

    def issue(
        self,
        holder: Holder,
        *,
        days: int = DAYS,
        hosts: Sequence[str] = (),
        home_assistant: str | None = None,
        force: bool = False,
    ) -> Issued:
        """Make a key and a certificate.

        Args:
            holder: whom it is for.
            days: how long it lasts.
            hosts: a broker's names and addresses.
            home_assistant: the discovery prefix under which a device or reader speaks with Home Assistant.
            force: whether to do so where the holder has one already, which is then revoked.

        Raises:
            ConfigError: where they have one already, or it cannot be issued.
        """
        files = self.files(holder)
        former = self.register.valid().get(holder.name)
        if former is not None and former.kind is not holder.kind:
            raise ConfigError(f"is a {former.kind.value} already", where=holder.name, fix="choose another name")
        if not force and (former is not None or files.key.exists()):
            raise ConfigError(
                "has a key already",
                where=holder.name,
                fix="`renew` its certificate, or give --force for a new key, which revokes the former",
            )
        key = issuing.make_key()
        certificate, issued = self._sign(holder, key.public_key(), days, tuple(hosts), home_assistant)
        self._record(self.register.with_revoked(holder.name, self._now).with_issued(issued))
        write(files.key, issuing.private_pem(key), mode=SECRET)
        self._deliver(files, certificate)
        return issued

    def renew(self, name: str, *, days: int = DAYS) -> Issued:
        """A new certificate for the key of the former, which holds until its own end.

        Raises:
            ConfigError: where they have none.
        """
        former = self._known(name)
        files = self.files(former.holder)
        # Not just any that lies there: the key of a revoked one must not come back.
        serials = [one.serial for one in self.register.issued if one.name == name and one.revoked is None]
        key = issuing.key_of(read(files.certificate), serials, where=str(files.certificate))
        certificate, issued = self._sign(former.holder, key, days, former.hosts, former.home_assistant)
        self._record(self.register.with_issued(issued))
        self._deliver(files, certificate)
        return issued

    def revoke(self, name: str) -> None:
        """Have the broker accept none of a holder's certificates any longer.

        Raises:
            ConfigError: where they have none.
        """
        self._known(name)
        self._record(self.register.with_revoked(name, self._now))

    def expiring(self, days: int) -> list[Issued]:
        """Those that hold for so many days at most."""
        end = self._now + timedelta(days=days)
        return [one for one in self.register.valid().values() if one.until <= end]

    def _known(self, name: str) -> Issued:
        try:
            return self.register.valid()[name]
        except KeyError:
            raise ConfigError("has no certificate", where=name, fix="look at: driftprint certificates list") from None

    def _sign(
        self,
        holder: Holder,
        key: ec.EllipticCurvePublicKey,
        days: int,
        hosts: tuple[str, ...],
        home_assistant: str | None,
    ) -> tuple[x509.Certificate, Issued]:
        certificate = issuing.issue(self._authority, holder.name, key, hosts=hosts, now=self._now, days=days)
        issued = Issued(
            kind=holder.kind,
            name=holder.name,
            serial=f"{certificate.serial_number:x}",
            until=certificate.not_valid_after_utc,
            hosts=hosts,
            home_assistant=home_assistant,
        )
        return certificate, issued

    def publish(self) -> None:
        """Write down for the broker what the register says."""
        revoked = [(int(one.serial, 16), one.revoked) for one in self.register.issued if one.revoked is not None]
        crl = issuing.revocation_list(self._authority, revoked, now=self._now)
        write(self.broker / "revoked.pem", issuing.pem(crl), mode=PUBLIC)
        write(self.broker / "acl", access_file(self.register.valid().values()).encode(), mode=PUBLIC)

    def _record(self, register: Register) -> None:
        """It is called before anything is handed out: what the register does not know could never be revoked."""
        write_register(register, self.folder / "issued.json")
        self.register = register
        self.publish()

    def _deliver(self, files: Files, certificate: x509.Certificate) -> None:
        write(files.certificate, issuing.pem(certificate), mode=PUBLIC)
        write(files.ca, issuing.pem(self._authority.certificate), mode=PUBLIC)


def found(folder: Path, *, now: datetime, days: int = AUTHORITY_DAYS) -> Office:
    """Make an authority.

    Args:
        folder: where it will be; it may exist, but hold no authority.
        now: the present moment.
        days: how long the authority lasts.

    Raises:
        ConfigError: where there is one already, or the folder cannot be written.
    """
    # Without its key, which may be kept elsewhere, it is an authority as well.
    if any((folder / name).exists() for name in ("authority.key", "authority.pem", "issued.json")):
        raise ConfigError(
            "there is an authority already, and all that it has issued would be worth nothing",
            where=str(folder),
            fix="choose another --folder",
        )
    authority = issuing.make_authority(AUTHORITY_NAME, now=now, days=days)
    try:
        make_folder(folder)
    except OSError as error:
        raise ConfigError(f"cannot be made ({error.strerror})", where=str(folder)) from None
    write_register(Register(), folder / "issued.json")
    write(folder / "authority.pem", issuing.pem(authority.certificate), mode=PUBLIC)
    write(folder / "authority.key", issuing.private_pem(authority.key), mode=SECRET)
    office = Office(folder, now=now)
    office.publish()
    return office

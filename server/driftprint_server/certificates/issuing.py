"""Certificates themselves, by `cryptography <https://cryptography.io>`_: X.509 version 3, elliptic curve P-256.

They are as RFC 5280 wants them, which Python checks from 3.13 on (``ssl.VERIFY_X509_STRICT``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from driftprint.errors import ConfigError

CLOCK_LAG = timedelta(days=1)
"""Devices' and brokers' clocks may be so far behind when a certificate is new."""

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


@dataclass(frozen=True)
class Authority:
    """Who issues.

    Attributes:
        key: its private key.
        certificate: what everybody trusts.
    """

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def make_authority(name: str, *, now: datetime, days: int) -> Authority:
    """A new authority, which can issue certificates of devices and brokers but no further authority.

    Args:
        name: its common name.
        now: the present moment.
        days: how long it lasts.
    """
    key = make_key()
    subject = _name(name)
    builder = (
        _builder(subject, subject, key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def issue(
    authority: Authority,
    name: str,
    key: ec.EllipticCurvePublicKey,
    *,
    hosts: Sequence[str],
    now: datetime,
    days: int,
) -> x509.Certificate:
    """A certificate for somebody's key.

    Args:
        authority: who issues it.
        name: the holder's common name.
        key: the holder's.
        hosts: a broker's host names and addresses; without any, it is a client's.
        now: the present moment.
        days: how long it lasts, at most as long as the authority's own.

    Raises:
        ConfigError: where a host is neither name nor address, or the authority has expired.
    """
    end = authority.certificate.not_valid_after_utc
    if now >= end:
        raise ConfigError(f"the authority has expired on {end:%Y-%m-%d}", fix="make another, in another folder")
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(authority.certificate.subject, _name(name), key, now, min(now + timedelta(days=days), end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def revocation_list(
    authority: Authority, revoked: Iterable[tuple[int, datetime]], *, now: datetime
) -> x509.CertificateRevocationList:
    """What the broker must not accept any longer.

    It holds as long as the authority does: a broker whose list has run out lets nobody in, and a fleet that stands
    still one night is no safer.

    Args:
        authority: who has issued them.
        revoked: serial numbers, and since when.
        now: the present moment.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - CLOCK_LAG)
        .next_update(authority.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    for serial, since in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, hashes.SHA256())


def pem(what: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """A certificate or list, as a PEM file."""
    return what.public_bytes(Encoding.PEM)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key, as a PEM file without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_authority(key: bytes, certificate: bytes, *, where: str) -> Authority:
    """An authority from its two files.

    Args:
        key: its private key.
        certificate: its certificate.
        where: they were read, for errors.

    Raises:
        ConfigError: where they are none, or do not belong together.
    """
    try:
        private = load_pem_private_key(key, None)
        authority = x509.load_pem_x509_certificate(certificate)
    except (TypeError, ValueError):
        raise ConfigError("no authority's key and certificate", where=where, fix="restore them from a copy") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != authority.public_key():
        raise ConfigError("the authority's key is not its certificate's", where=where, fix="restore them from a copy")
    return Authority(private, authority)


def key_of(certificate: bytes, serials: Collection[str], *, where: str) -> ec.EllipticCurvePublicKey:
    """The key that a certificate is for.

    Args:
        certificate: a PEM file.
        serials: in hexadecimal; it must have one of these.
        where: it was read, for errors.

    Raises:
        ConfigError: where it is another, or none.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate)
        key = found.public_key() if f"{found.serial_number:x}" in serials else None
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigError("not the certificate that was issued", where=where, fix="make a new key with --force")
    return key


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_LAG)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(host):
        raise ConfigError("neither a host name nor an address", where=repr(host), fix="give it as in mqtt.host")
    return x509.DNSName(host)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

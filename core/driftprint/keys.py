"""The keys that sign bundles, and those that a device trusts: PEM files."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftprint.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.x509 import Certificate

_CURVES = ("secp256r1", "secp384r1", "secp521r1")


@dataclass(frozen=True)
class TrustedKey:
    """Who may sign: a public key, or a certificate authority.

    Attributes:
        name: the file it was read from.
        pem: the public key, or one or more certificates.
        fingerprint: of the public key, or the first certificate's, as `fingerprint` gives it.
        is_authority: whether it is certificates.
    """

    name: str
    pem: bytes
    fingerprint: str
    is_authority: bool


class TrustedKeys:
    """A folder of PEM files: public keys, and certificates of authorities, whose signatures a device takes.

    All are read here, once. Hidden files are passed over.

    Args:
        folder: only those who may decide what the device runs should be able to write to it.

    Raises:
        ConfigError: where the folder is empty or cannot be read, or a file in it is neither.
        MissingExtraError: without the extra "signing".
    """

    def __init__(self, folder: Path) -> None:
        require_extra()
        self.folder = folder
        try:
            files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror or error})", where=str(folder), fix="name the folder of trusted keys"
            ) from None
        if not files:
            raise ConfigError(
                "holds no keys, so that no bundle could be trusted",
                where=str(folder),
                fix="copy a .pub file of `driftprint bundle keygen` into it",
            )
        self.keys = tuple(_read_trusted(file) for file in files)


def require_extra() -> None:
    """Check that what signs and verifies is installed.

    Raises:
        MissingExtraError: where it is not.
    """
    try:
        import model_signing  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"signed bundles need the package {error.name}", extra="signing") from None


def make_key(path: Path) -> str:
    """Make an elliptic-curve key (P-256) and write it to `path`, for the owner alone, and its public half to `.pub`.

    Args:
        path: a file that does not exist yet; nor does the one with ``.pub`` behind its name.

    Returns:
        The key's fingerprint.

    Raises:
        ConfigError: where one of them exists or cannot be written.
        MissingExtraError: without the extra "signing".
    """
    require_extra()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = ((path, private, 0o600), (public_file(path), _pem(key.public_key()), 0o644))
    for file, _, _ in files:
        if file.exists():
            raise ConfigError("exists already", where=str(file), fix="choose another name")
    for file, data, mode in files:
        try:
            # O_EXCL: neither overwrites a key nor follows a link.
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                stream.write(data)
        except OSError as error:
            raise ConfigError(f"cannot be written ({error.strerror})", where=str(file)) from None
    return fingerprint(key.public_key())


def public_file(key: Path) -> Path:
    """Where `make_key` puts the public half of a key."""
    return key.with_name(f"{key.name}.pub")


def read_private_key(path: Path) -> EllipticCurvePrivateKey:
    """A key to sign with.

    Raises:
        ConfigError: where it is none, has a passphrase, or is of a kind that cannot sign bundles.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), None)
    except TypeError:
        raise ConfigError(
            "has a passphrase", where=str(path), fix="take it off for signing: openssl pkey -in KEY -out PLAIN"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("not a private key in PEM", where=str(path), fix="`driftprint bundle keygen`") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise _wrong_kind(path)
    return key


def read_certificate(path: Path) -> Certificate:
    """The first certificate in a file.

    Raises:
        ConfigError: where there is none.
    """
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError:
        raise ConfigError("not a certificate in PEM", where=str(path)) from None


def is_for_code_signing(certificate: Certificate) -> bool:
    """Whether a certificate says that its key may sign code: one made for a device's TLS does not."""
    from cryptography import x509

    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return x509.oid.ExtendedKeyUsageOID.CODE_SIGNING in usage.value


def fingerprint(key: PublicKeyTypes) -> str:
    """The sha256 of a public key in DER (SubjectPublicKeyInfo), in hexadecimal."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _read_trusted(file: Path) -> TrustedKey:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

    data = _read(file)
    if b"PRIVATE KEY-----" in data:
        raise ConfigError(
            "is a private key, and whoever reads it can sign",
            where=str(file),
            fix="make a new one, keep it off devices, and put its .pub file here",
        )
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            certificates = x509.load_pem_x509_certificates(data)
            pem = b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
            return TrustedKey(file.name, pem, fingerprint(certificates[0].public_key()), is_authority=True)
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            "neither a public key nor certificates in PEM", where=str(file), fix="copy it again, or take it away"
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _wrong_kind(file)
    return TrustedKey(file.name, _pem(key), fingerprint(key), is_authority=False)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=str(file)) from None


def _pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _wrong_kind(file: Path) -> ConfigError:
    return ConfigError(
        "not an elliptic-curve key on P-256, P-384 or P-521",
        where=str(file),
        fix="`driftprint bundle keygen` makes one",
    )

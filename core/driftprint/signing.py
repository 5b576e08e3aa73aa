"""Signatures of bundles in the format of OpenSSF Model Signing, made and checked offline by the library model-signing.

A signature covers the bytes of every other file of the bundle. What is checked are the very bytes that are
loaded afterwards: they are read once, and the library is shown a private copy of them.

Source: https://github.com/sigstore/model-transparency
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Base64Bytes, BaseModel, Field

from driftprint.bundle_files import GOLDEN, MANIFEST, MODEL, SIGNATURE, Limits, file_names, read_files, zip_files
from driftprint.errors import BundleError, ConfigError, SignatureError
from driftprint.keys import (
    TrustedKey,
    TrustedKeys,
    fingerprint,
    is_for_code_signing,
    read_certificate,
    read_private_key,
    require_extra,
)
from driftprint.manifest import Sha256

if TYPE_CHECKING:
    from model_signing import hashing


@dataclass(frozen=True)
class Verified:
    """Who signed a bundle.

    Attributes:
        trusted: the file in the folder of trusted keys by which the signature holds.
        fingerprint: of the signer's public key, as `driftprint.keys.fingerprint` gives it.
        subject: the name in the signer's certificate; None where it is the key itself that is trusted.
    """

    trusted: str
    fingerprint: str
    subject: str | None = None

    def __str__(self) -> str:
        signer = f"{self.subject}, by {self.trusted}" if self.subject else self.trusted
        return f"{signer} (sha256 {self.fingerprint[:16]}...)"


def sign(
    path: Path,
    key: Path,
    *,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
    limits: Limits | None = None,
) -> str:
    """Sign a bundle as it is: its signature is written into it, in place of one that is there.

    Args:
        path: the bundle's folder or zip file.
        key: a private key on P-256, P-384 or P-521, in PEM.
        certificate: the key's certificate for code signing, where devices trust its authority and not the key.
        chain: certificates between it and the authority.
        limits: the largest files to read.

    Returns:
        The fingerprint of the signer's public key.

    Raises:
        BundleError: where the bundle cannot be read or written.
        ConfigError: where the key or a certificate cannot be used.
        MissingExtraError: without the extra "signing".
    """
    require_extra()
    from model_signing import signing

    public = read_private_key(key).public_key()
    config = signing.Config().set_hashing_config(_every_file())  # type: ignore[no-untyped-call]
    if certificate is None:
        config.use_elliptic_key_signer(private_key=key)
    else:
        signer = read_certificate(certificate)
        if signer.public_key() != public:
            raise ConfigError("is another key's certificate", where=str(certificate))
        if not is_for_code_signing(signer):
            raise ConfigError(
                "is not for code signing",
                where=str(certificate),
                fix="have one issued with extendedKeyUsage = codeSigning",
            )
        for link in chain:
            read_certificate(link)
        # The library takes no empty chain; the certificate itself does no harm in it.
        config.use_certificate_signer(
            private_key=key, signing_certificate=certificate, certificate_chain=chain or [certificate]
        )
    files = read_files(path, limits or Limits())
    with _copied(files, where=str(path)) as folder:
        config.sign(folder, folder.with_name(SIGNATURE))
        signature = folder.with_name(SIGNATURE).read_bytes()
    _put(path, files, signature)
    return fingerprint(public)


def verify(path: Path, trusted: TrustedKeys, limits: Limits | None = None) -> Verified:
    """Check a bundle's signature, and nothing else of it.

    Raises:
        BundleError: as `read_verified` does.
    """
    return read_verified(path, trusted, limits or Limits())[1]


def read_verified(path: Path, trusted: TrustedKeys, limits: Limits) -> tuple[dict[str, bytes], Verified]:
    """The files of a bundle that one of the trusted keys has signed. Of what they hold only the signature is parsed.

    Args:
        path: the bundle's folder or zip file.
        trusted: whose signatures are taken.
        limits: the largest files to read.

    Returns:
        Every file's bytes by its name, as they were signed; and who did it.

    Raises:
        SignatureError: where there is no signature, it is damaged, holds for other contents, or is a stranger's.
        BundleError: where files are missing, cannot be read, or are too large; and where there are others.
    """
    files = read_files(path, limits)
    if len(file_names(path)) != len(files):
        raise SignatureError(
            f"holds more than {MANIFEST}, {MODEL}, {GOLDEN} and {SIGNATURE}",
            reason="altered",
            where=str(path),
            fix="take the rest away",
        )
    if SIGNATURE not in files:
        raise SignatureError(
            "is not signed, and must be",
            reason="unsigned",
            where=str(path),
            fix="`driftprint bundle sign`, where it was made",
        )
    return files, _check(files, trusted, where=str(path))


class _Digest(BaseModel):
    name: str
    algorithm: Literal["sha256"]
    digest: Sha256


class _Predicate(BaseModel):
    resources: list[_Digest]


class _Statement(BaseModel):
    predicate: _Predicate


class _Envelope(BaseModel):
    payload: Base64Bytes


class _PublicKey(BaseModel):
    # The library prints a warning where there is no hint.
    hint: str = Field(min_length=1)


class _Certificate(BaseModel):
    der: Base64Bytes = Field(alias="rawBytes")


class _Chain(BaseModel):
    certificates: list[_Certificate] = Field(min_length=1)


class _Material(BaseModel):
    public_key: _PublicKey | None = Field(None, alias="publicKey")
    chain: _Chain | None = Field(None, alias="x509CertificateChain")


class _Signature(BaseModel):
    """The parts of a signature file that are looked at beside the library, which parses it by itself."""

    envelope: _Envelope = Field(alias="dsseEnvelope")
    material: _Material = Field(alias="verificationMaterial")


def _check(files: Mapping[str, bytes], trusted: TrustedKeys, where: str) -> Verified:
    """Check a signature: first that it speaks of these files, and of all of them, then whose it is."""
    from cryptography import x509

    try:
        signature = _Signature.model_validate_json(files[SIGNATURE])
        statement = _Statement.model_validate_json(signature.envelope.payload)
        chain = signature.material.chain
        certificate = x509.load_der_x509_certificate(chain.certificates[0].der) if chain else None
    except (ValueError, x509.InvalidVersion):
        raise SignatureError(
            "is cut short, or no signature of a bundle",
            reason="damaged",
            where=f"{where}/{SIGNATURE}",
            fix="copy the bundle again",
        ) from None
    claimed = {each.name: each.digest for each in statement.predicate.resources}
    found = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != SIGNATURE}
    if claimed != found:
        # Names that the signature claims are a stranger's text so far: none is shown.
        altered = [name for name in found if claimed.get(name) != found[name]]
        raise SignatureError(
            f"{' and '.join(altered) or 'the list of files'} is not what was signed",
            reason="altered",
            where=where,
            fix="copy the bundle again, or sign it where it was made",
        )
    with _copied(files, where) as folder:
        candidates = (key for key in trusted.keys if key.is_authority == (certificate is not None))
        key = next((key for key in candidates if _holds(folder, key)), None)
    if key is None:
        raise _foreign("is signed by nobody whose key is in", trusted, where)
    if certificate is None:
        return Verified(key.name, key.fingerprint)
    if not is_for_code_signing(certificate):
        raise _foreign("is signed with a certificate that is not for code signing, by an authority in", trusted, where)
    return Verified(key.name, fingerprint(certificate.public_key()), certificate.subject.rfc4514_string())


def _holds(folder: Path, key: TrustedKey) -> bool:
    """Whether a signature holds by one key, as the library says: for the files in `folder`, from the file beside it."""
    from model_signing import verifying

    pem = folder.with_name("trusted.pem")
    pem.write_bytes(key.pem)
    config = verifying.Config().set_hashing_config(_every_file())  # type: ignore[no-untyped-call]
    if key.is_authority:
        config.use_certificate_verifier(certificate_chain=[pem])
    else:
        config.use_elliptic_key_verifier(public_key=pem)
    try:
        config.verify(folder, folder.with_name(SIGNATURE))
    except Exception:
        # Given a stranger's bytes, the library and those below it raise whatever they trip over. It holds only
        # where they do not.
        return False
    return True


def _every_file() -> hashing.Config:
    """sha256 of every file: the library would leave out git's, and take the choice of hash from the signature."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)  # type: ignore[no-untyped-call]


@contextmanager
def _copied(files: Mapping[str, bytes], where: str) -> Iterator[Path]:
    """A folder with a private copy of a bundle's files, for the library; the signature lies beside it."""
    try:
        with tempfile.TemporaryDirectory(prefix="driftprint-") as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            for name, data in files.items():
                (folder.with_name(name) if name == SIGNATURE else folder / name).write_bytes(data)
            yield folder
    except OSError as error:
        raise BundleError(
            f"cannot be copied into the folder for temporary files ({error.strerror})",
            where=where,
            fix="make room there, or name another folder in TMPDIR",
        ) from None


def _put(path: Path, files: Mapping[str, bytes], signature: bytes) -> None:
    """Write a signature into the bundle. A zip file is made anew, from the bytes that were signed."""
    try:
        if path.is_dir():
            (path / SIGNATURE).write_bytes(signature)
        else:
            part = path.with_name(f"{path.name}.part")
            part.write_bytes(zip_files({**files, SIGNATURE: signature}))
            part.replace(path)
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror})", where=str(path)) from None


def _foreign(what: str, trusted: TrustedKeys, where: str) -> SignatureError:
    names = ", ".join(key.name for key in trusted.keys)
    return SignatureError(
        f"{what} {trusted.folder} ({names})",
        reason="foreign_key",
        where=where,
        fix="if you trust the signer, copy its public key there",
    )

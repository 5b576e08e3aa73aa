"""Certificates as an authority of one's own would issue them, for tests of signatures."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
TLS_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


class Holder:
    """Somebody with a key and a certificate, both also in files: ``NAME.key`` and ``NAME.pem``.

    Args:
        folder: where the files go.
        name: the common name in the certificate.
        issuer: whose key signs the certificate; None signs it itself.
        authority: whether the certificate may issue others.
        usage: its extended key usage; None for none.
        age: how long ago it began.
        lifetime: how long it is valid from then.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        issuer: Holder | None = None,
        *,
        authority: bool = False,
        usage: ObjectIdentifier | None = None,
        age: timedelta = timedelta(days=1),
        lifetime: timedelta = timedelta(days=365),
    ) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begin = datetime.now(timezone.utc) - age
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.issued.subject if issuer else subject)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + lifetime)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not authority,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        self.issued: x509.Certificate = builder.sign(issuer.private if issuer else self.private, hashes.SHA256())
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        self.key.write_bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.certificate.write_bytes(self.issued.public_bytes(Encoding.PEM))

import base64
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import model_signing.hashing
import model_signing.signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftprint.bundle import read_bundle, read_manifest, write_bundle
from driftprint.bundle_files import GOLDEN, MANIFEST, MODEL, SIGNATURE, Limits, read_files, zip_files
from driftprint.errors import BundleError, ConfigError, MissingExtraError, SignatureError
from driftprint.keys import TrustedKeys, make_key, public_file
from driftprint.manifest import check_not_older
from driftprint.signing import sign, verify
from tests.bundles import make_bundle
from tests.certificates import CODE_SIGNING, TLS_CLIENT, Holder

SIGNED = (MANIFEST, MODEL, GOLDEN)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signer") / "parts.key"
    make_key(path)
    return path


@pytest.fixture
def trusted(tmp_path: Path, key: Path) -> TrustedKeys:
    """A device's folder with the signer's public key."""
    return trust(tmp_path, public_file(key))


@pytest.fixture(params=[False, True], ids=["folder", "zip"])
def unsigned(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "toy-1.driftprint", zipped=request.param)


@pytest.fixture
def signed(unsigned: Path, key: Path) -> Path:
    sign(unsigned, key)
    return unsigned


@pytest.fixture(scope="module")
def intact_signed(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    """A signed bundle in a folder, which tests only read."""
    bundle = make_bundle(tmp_path_factory.mktemp("signed") / "toy-1.driftprint")
    sign(bundle, key)
    return bundle


def trust(folder: Path, *files: Path) -> TrustedKeys:
    keys = folder / "keys"
    keys.mkdir(exist_ok=True)
    for file in files:
        shutil.copy(file, keys)
    return TrustedKeys(keys)


def contents_of(bundle: Path) -> dict[str, bytes]:
    return read_files(bundle, Limits())


def fill(bundle: Path, contents: dict[str, bytes]) -> None:
    """Make a bundle of exactly these files, in its folder or zip file."""
    if bundle.is_file():
        bundle.write_bytes(zip_files(contents))
        return
    shutil.rmtree(bundle)
    bundle.mkdir()
    for name, data in contents.items():
        (bundle / name).write_bytes(data)


def put(bundle: Path, name: str, data: bytes) -> None:
    """Give one file of a bundle other contents."""
    fill(bundle, {**contents_of(bundle), name: data})


def sign_with_the_library(bundle: Path, config: model_signing.signing.Config) -> None:
    """Sign as somebody would who does not ask driftprint."""
    files = bundle.with_name("files")
    files.mkdir()
    for name, data in contents_of(bundle).items():
        (files / name).write_bytes(data)
    config.sign(files, bundle.with_name(SIGNATURE))
    put(bundle, SIGNATURE, bundle.with_name(SIGNATURE).read_bytes())


def refusal(bundle: Path, trusted: TrustedKeys) -> SignatureError:
    """The error with which a bundle that must be signed is refused."""
    with pytest.raises(SignatureError) as caught:
        read_bundle(bundle, trusted=trusted)
    assert str(bundle) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


# What holds


def test_what_a_trusted_key_has_signed_is_loaded(signed: Path, trusted: TrustedKeys, key: Path) -> None:
    bundle = read_bundle(signed, trusted=trusted)

    assert bundle.manifest.id == "toy-1"
    assert bundle.signed_by == verify(signed, trusted)
    assert bundle.signed_by.trusted == public_file(key).name
    assert bundle.signed_by.subject is None


def test_the_signer_is_told_by_the_fingerprint_that_signing_gave(
    unsigned: Path, trusted: TrustedKeys, key: Path
) -> None:
    assert sign(unsigned, key) == verify(unsigned, trusted).fingerprint


def test_signing_changes_nothing_else(unsigned: Path, key: Path) -> None:
    before = contents_of(unsigned)
    sign(unsigned, key)
    after = contents_of(unsigned)

    assert after.keys() - before.keys() == {SIGNATURE}
    assert {name: after[name] for name in before} == before


def test_a_signed_bundle_loads_where_no_signature_is_asked_for(signed: Path) -> None:
    assert read_bundle(signed).signed_by is None


def test_signing_again_replaces_the_signature(signed: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "new.key")
    sign(signed, tmp_path / "new.key")

    assert verify(signed, trust(tmp_path, tmp_path / "new.key.pub")).trusted == "new.key.pub"


def test_any_one_of_several_trusted_keys_will_do(signed: Path, key: Path, tmp_path: Path) -> None:
    for name in ("aaa.key", "zzz.key"):
        make_key(tmp_path / name)

    several = trust(tmp_path, tmp_path / "aaa.key.pub", public_file(key), tmp_path / "zzz.key.pub")

    assert len(several.keys) == 3
    assert verify(signed, several).trusted == "parts.key.pub"


def test_a_folder_and_its_zip_have_the_same_signature(tmp_path: Path, trusted: TrustedKeys, key: Path) -> None:
    folder = make_bundle(tmp_path / "folder")
    sign(folder, key)
    zipped = tmp_path / "zipped"
    zipped.write_bytes(zip_files(contents_of(folder)))

    assert verify(zipped, trusted) == verify(folder, trusted)


def test_a_signed_bundle_can_be_renamed(tmp_path: Path, signed: Path, trusted: TrustedKeys) -> None:
    assert verify(signed.rename(tmp_path / "elsewhere"), trusted)


def test_keys_on_larger_curves_sign_as_well(unsigned: Path, tmp_path: Path) -> None:
    for curve in (ec.SECP384R1(), ec.SECP521R1()):
        key = ec.generate_private_key(curve)
        (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / "key.pub").write_bytes(public)
        sign(unsigned, tmp_path / "key")

        assert verify(unsigned, trust(tmp_path, tmp_path / "key.pub"))


def test_the_librarys_own_command_checks_it_as_well(tmp_path: Path, key: Path) -> None:
    bundle = make_bundle(tmp_path / "toy-1.driftprint")
    sign(bundle, key)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle), "--public_key"]
    signature = str(bundle / SIGNATURE)

    done = subprocess.run(
        [*command, str(public_file(key)), "--signature", signature, "--ignore-paths", signature],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


# What does not


def test_an_unsigned_bundle_is_refused(unsigned: Path, trusted: TrustedKeys) -> None:
    error = refusal(unsigned, trusted)

    assert error.reason == "unsigned"
    assert "driftprint bundle sign" in str(error)


@pytest.mark.parametrize("name", SIGNED)
def test_an_altered_file_is_refused_and_named(signed: Path, trusted: TrustedKeys, name: str) -> None:
    data = bytearray(contents_of(signed)[name])
    data[len(data) // 2] ^= 1
    put(signed, name, bytes(data))

    error = refusal(signed, trusted)

    assert error.reason == "altered"
    assert f"{name} is not what was signed" in str(error)


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_file_cut_short_is_refused(signed: Path, trusted: TrustedKeys, name: str, kept: float) -> None:
    data = contents_of(signed)[name]
    put(signed, name, data[: int(kept * len(data))])

    assert refusal(signed, trusted).reason == "altered"


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_zip_cut_short_is_refused(tmp_path: Path, trusted: TrustedKeys, key: Path, kept: float) -> None:
    bundle = make_bundle(tmp_path / "toy-1.driftprint", zipped=True)
    sign(bundle, key)
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(kept * len(data))])

    with pytest.raises(BundleError, match="neither a folder nor a whole zip file"):
        read_bundle(bundle, trusted=trusted)


@pytest.mark.parametrize("name", SIGNED)
def test_a_missing_file_is_refused(signed: Path, trusted: TrustedKeys, name: str) -> None:
    fill(signed, {other: data for other, data in contents_of(signed).items() if other != name})

    with pytest.raises(BundleError, match=f"has no {name}"):
        read_bundle(signed, trusted=trusted)


def test_a_file_more_than_was_signed_is_refused(signed: Path, trusted: TrustedKeys) -> None:
    put(signed, "weights.bin", b"more")

    assert refusal(signed, trusted).reason == "altered"


def test_a_file_that_comes_twice_in_a_zip_is_refused(tmp_path: Path, trusted: TrustedKeys, key: Path) -> None:
    bundle = make_bundle(tmp_path / "toy-1.driftprint", zipped=True)
    sign(bundle, key)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr(MODEL, contents_of(bundle)[MODEL])

    assert refusal(bundle, trusted).reason == "altered"


@pytest.mark.parametrize("left_out", SIGNED)
def test_a_signature_that_leaves_a_file_out_is_refused(
    unsigned: Path, trusted: TrustedKeys, key: Path, left_out: str
) -> None:
    """The library lets a signer leave files out, and would then take any contents of theirs."""
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[left_out])  # type: ignore[no-untyped-call]
    config = model_signing.signing.Config().set_hashing_config(hashing)  # type: ignore[no-untyped-call]
    sign_with_the_library(unsigned, config.use_elliptic_key_signer(private_key=key))

    error = refusal(unsigned, trusted)

    assert error.reason == "altered"
    assert f"{left_out} is not what was signed" in str(error)


def test_the_signature_of_another_bundle_is_refused(
    signed: Path, trusted: TrustedKeys, key: Path, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "toy-2.driftprint", version=2)
    sign(other, key)
    put(signed, SIGNATURE, contents_of(other)[SIGNATURE])

    error = refusal(signed, trusted)

    assert error.reason == "altered"
    assert "manifest.json is not what was signed" in str(error)


def test_a_strangers_signature_is_refused(unsigned: Path, trusted: TrustedKeys, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger.key")
    sign(unsigned, tmp_path / "stranger.key")

    error = refusal(unsigned, trusted)

    assert error.reason == "foreign_key"
    assert f"{trusted.folder} (parts.key.pub)" in str(error)


def test_a_signature_edited_to_speak_of_other_contents_is_refused(
    signed: Path, trusted: TrustedKeys, tmp_path: Path
) -> None:
    """The digests in it can be changed to fit; the signature over them then holds by no key."""
    make_key(tmp_path / "stranger.key")
    forged = make_bundle(tmp_path / "toy-2.driftprint", version=2)
    sign(forged, tmp_path / "stranger.key")
    theirs = contents_of(forged)
    signature = json.loads(contents_of(signed)[SIGNATURE])
    signature["dsseEnvelope"]["payload"] = json.loads(theirs[SIGNATURE])["dsseEnvelope"]["payload"]
    fill(signed, {**theirs, SIGNATURE: json.dumps(signature).encode()})

    assert refusal(signed, trusted).reason == "foreign_key"


def test_a_signature_that_does_not_say_by_which_key_is_refused(
    signed: Path, trusted: TrustedKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library would only print a warning, into whatever a command prints."""
    signature = json.loads(contents_of(signed)[SIGNATURE])
    signature["verificationMaterial"]["publicKey"]["hint"] = ""
    put(signed, SIGNATURE, json.dumps(signature).encode())

    assert refusal(signed, trusted).reason == "damaged"
    assert capsys.readouterr().out == ""


def test_nobody_is_named_by_a_certificate_that_signed_nothing(
    signed: Path, trusted: TrustedKeys, tmp_path: Path
) -> None:
    """A trusted key's signature with somebody's certificate added to it."""
    somebody = Holder(tmp_path, "somebody", usage=CODE_SIGNING)
    der = base64.b64encode(somebody.issued.public_bytes(Encoding.DER)).decode()
    signature = json.loads(contents_of(signed)[SIGNATURE])
    signature["verificationMaterial"]["x509CertificateChain"] = {"certificates": [{"rawBytes": der}]}
    put(signed, SIGNATURE, json.dumps(signature).encode())

    assert refusal(signed, trusted).reason == "foreign_key"


@pytest.mark.parametrize("kept", [0, 0.3, 0.9, 0.999])
def test_a_signature_cut_short_is_refused(signed: Path, trusted: TrustedKeys, kept: float) -> None:
    data = contents_of(signed)[SIGNATURE]
    put(signed, SIGNATURE, data[: int(kept * len(data))])

    error = refusal(signed, trusted)

    assert error.reason == "damaged"
    assert f"{signed}/signature" in str(error)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\x00",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"dsseEnvelope": {"payload": "bm90aGluZw=="}, "verificationMaterial": {}}',
        b'{"dsseEnvelope": {"payload": 7}, "verificationMaterial": {"x509CertificateChain": {"certificates": []}}}',
    ],
    ids=lambda data: data[:12].decode(errors="replace"),
)
def test_a_signature_that_is_none_is_refused(signed: Path, trusted: TrustedKeys, garbage: bytes) -> None:
    put(signed, SIGNATURE, garbage)

    assert refusal(signed, trusted).reason == "damaged"


def test_a_signature_over_the_limit_is_refused(signed: Path, trusted: TrustedKeys) -> None:
    put(signed, SIGNATURE, contents_of(signed)[SIGNATURE] + b" " * 2**20)

    with pytest.raises(BundleError, match="signature: larger than"):
        read_bundle(signed, trusted=trusted)


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("by", ["a stranger", "nobody", "garbage"])
def test_nothing_is_parsed_before_the_signature_holds(
    unsigned: Path, trusted: TrustedKeys, tmp_path: Path, name: str, by: str
) -> None:
    """Were the hostile file parsed first, its own error would come first."""
    put(unsigned, name, b"\xff" * 1000)
    if by == "a stranger":
        make_key(tmp_path / "stranger.key")
        sign(unsigned, tmp_path / "stranger.key")
    elif by == "garbage":
        put(unsigned, SIGNATURE, b"junk")

    expected = {"a stranger": "foreign_key", "nobody": "unsigned", "garbage": "damaged"}
    assert refusal(unsigned, trusted).reason == expected[by]


def test_a_signature_does_not_make_a_broken_bundle_whole(signed: Path, trusted: TrustedKeys, key: Path) -> None:
    put(signed, MODEL, b"\xff" * 100)
    sign(signed, key)

    with pytest.raises(BundleError, match="does not match the checksum"):
        read_bundle(signed, trusted=trusted)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), put_in=st.binary(max_size=6), cut=st.integers(0, 6))
def test_no_damage_to_a_signature_breaks_the_reader(
    tmp_path: Path, intact_signed: Path, trusted: TrustedKeys, place: float, put_in: bytes, cut: int
) -> None:
    bundle = shutil.copytree(intact_signed, tmp_path / "damaged", dirs_exist_ok=True)
    data = (intact_signed / SIGNATURE).read_bytes()
    at = int(place * len(data))
    (bundle / SIGNATURE).write_bytes(data[:at] + put_in + data[at + cut :])

    with suppress(SignatureError):
        assert verify(bundle, trusted) == verify(intact_signed, trusted)


# Certificates


@pytest.fixture
def authority(tmp_path: Path) -> Holder:
    return Holder(tmp_path, "authority", authority=True)


def test_what_an_authoritys_signer_has_signed_is_loaded(unsigned: Path, authority: Holder, tmp_path: Path) -> None:
    signer = Holder(tmp_path, "signer", authority, usage=CODE_SIGNING)
    fingerprint = sign(unsigned, signer.key, certificate=signer.certificate)

    signed_by = read_bundle(unsigned, trusted=trust(tmp_path, authority.certificate)).signed_by

    assert signed_by is not None
    assert (signed_by.trusted, signed_by.subject) == ("authority.pem", "CN=signer")
    assert signed_by.fingerprint == fingerprint


def test_a_chain_leads_to_the_authority(unsigned: Path, authority: Holder, tmp_path: Path) -> None:
    between = Holder(tmp_path, "between", authority, authority=True)
    signer = Holder(tmp_path, "signer", between, usage=CODE_SIGNING)
    trusted = trust(tmp_path, authority.certificate)

    sign(unsigned, signer.key, certificate=signer.certificate)
    assert refusal(unsigned, trusted).reason == "foreign_key"

    sign(unsigned, signer.key, certificate=signer.certificate, chain=[between.certificate])
    assert verify(unsigned, trusted).subject == "CN=signer"


def test_another_authoritys_signer_is_refused(
    unsigned: Path, authority: Holder, trusted: TrustedKeys, tmp_path: Path
) -> None:
    other = Holder(tmp_path, "other", authority=True)
    signer = Holder(tmp_path, "signer", other, usage=CODE_SIGNING)
    sign(unsigned, signer.key, certificate=signer.certificate, chain=[other.certificate])

    assert refusal(unsigned, trusted).reason == "foreign_key"
    assert refusal(unsigned, trust(tmp_path, authority.certificate)).reason == "foreign_key"


def test_a_signer_cannot_appoint_signers(unsigned: Path, authority: Holder, tmp_path: Path) -> None:
    signer = Holder(tmp_path, "signer", authority, usage=CODE_SIGNING)
    friend = Holder(tmp_path, "friend", signer, usage=CODE_SIGNING)
    sign(unsigned, friend.key, certificate=friend.certificate, chain=[signer.certificate])

    assert refusal(unsigned, trust(tmp_path, authority.certificate)).reason == "foreign_key"


@pytest.mark.parametrize("usage", [TLS_CLIENT, None], ids=["a device's", "no purpose"])
def test_a_certificate_for_something_else_signs_nothing(
    unsigned: Path, authority: Holder, tmp_path: Path, usage: Any
) -> None:
    """The authority of the devices' TLS certificates may be the same one: no device may sign for the others."""
    device = Holder(tmp_path, "device", authority, usage=usage)

    with pytest.raises(ConfigError, match="is not for code signing"):
        sign(unsigned, device.key, certificate=device.certificate)

    config = model_signing.signing.Config()  # type: ignore[no-untyped-call]
    config.use_certificate_signer(
        private_key=device.key, signing_certificate=device.certificate, certificate_chain=[device.certificate]
    )
    sign_with_the_library(unsigned, config)
    error = refusal(unsigned, trust(tmp_path, authority.certificate))
    assert error.reason == "foreign_key"
    assert "not for code signing" in str(error)


def test_a_signature_outlives_its_certificate(unsigned: Path, authority: Holder, tmp_path: Path) -> None:
    """A device whose clock is wrong goes on, and so does one whose bundle is older than a certificate lasts."""
    signer = Holder(
        tmp_path, "signer", authority, usage=CODE_SIGNING, age=timedelta(hours=20), lifetime=timedelta(hours=10)
    )
    sign(unsigned, signer.key, certificate=signer.certificate)

    assert verify(unsigned, trust(tmp_path, authority.certificate))


def test_an_authority_vouches_for_certificates_alone(unsigned: Path, authority: Holder, tmp_path: Path) -> None:
    """Its signer's bare key says nothing of whose it is; nor is the authority's own key a signer's."""
    signer = Holder(tmp_path, "signer", authority, usage=CODE_SIGNING)
    trusted = trust(tmp_path, authority.certificate)

    for key in (signer.key, authority.key):
        sign(unsigned, key)
        assert refusal(unsigned, trusted).reason == "foreign_key"


def test_another_keys_certificate_is_refused(unsigned: Path, key: Path, authority: Holder, tmp_path: Path) -> None:
    signer = Holder(tmp_path, "signer", authority, usage=CODE_SIGNING)

    with pytest.raises(ConfigError, match="another key's certificate"):
        sign(unsigned, key, certificate=signer.certificate)


@pytest.mark.parametrize("place", ["certificate", "chain"])
def test_a_certificate_that_is_none_is_refused(
    unsigned: Path, key: Path, authority: Holder, tmp_path: Path, place: str
) -> None:
    signer = Holder(tmp_path, "signer", authority, usage=CODE_SIGNING)
    files: dict[str, Any] = {"certificate": signer.certificate, "chain": []}
    files[place] = public_file(key) if place == "certificate" else [public_file(key)]

    with pytest.raises(ConfigError, match=r"parts\.key\.pub: not a certificate"):
        sign(unsigned, signer.key, **files)


# Keys


def test_a_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    make_key(tmp_path / "parts.key")

    assert (tmp_path / "parts.key").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in (tmp_path / "parts.key.pub").read_bytes()


@pytest.mark.parametrize("there", ["parts.key", "parts.key.pub"])
def test_no_key_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")

    with pytest.raises(ConfigError, match=f"{there}: exists already"):
        make_key(tmp_path / "parts.key")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(there, "precious")]


def test_a_place_where_no_key_can_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere/parts\.key: cannot be written"):
        make_key(tmp_path / "nowhere" / "parts.key")


def private_pem(key: Any, passphrase: bytes | None = None) -> bytes:
    kind = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, kind))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (lambda: b"no key", "not a private key"),
        (lambda: private_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "has a passphrase"),
        (lambda: private_pem(ec.generate_private_key(ec.SECP256K1())), "not an elliptic-curve key on P-256"),
        (lambda: private_pem(rsa.generate_private_key(65537, 2048)), "not an elliptic-curve key on P-256"),
    ],
    ids=["no key", "passphrase", "another curve", "RSA"],
)
def test_what_cannot_sign_is_refused(unsigned: Path, tmp_path: Path, data: Callable[[], bytes], complaint: str) -> None:
    (tmp_path / "key").write_bytes(data())

    with pytest.raises(ConfigError, match=complaint):
        sign(unsigned, tmp_path / "key")
    assert SIGNATURE not in contents_of(unsigned)


def test_a_missing_key_is_named(unsigned: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: cannot be read"):
        sign(unsigned, tmp_path / "nowhere")


def test_an_empty_folder_trusts_nobody_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no keys"):
        trust(tmp_path)


def test_a_missing_folder_of_keys_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: cannot be read"):
        TrustedKeys(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"no key", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_trusted_file_that_is_no_key_is_named(tmp_path: Path, key: Path, data: bytes) -> None:
    (tmp_path / "junk.pub").write_bytes(data)

    with pytest.raises(ConfigError, match=r"keys/junk\.pub: neither a public key nor certificates"):
        trust(tmp_path, public_file(key), tmp_path / "junk.pub")


def test_a_public_key_of_another_kind_is_named(tmp_path: Path) -> None:
    public = rsa.generate_private_key(65537, 2048).public_key()
    (tmp_path / "rsa.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    with pytest.raises(ConfigError, match=r"keys/rsa\.pub: not an elliptic-curve key"):
        trust(tmp_path, tmp_path / "rsa.pub")


def test_a_private_key_among_the_trusted_ones_is_refused(tmp_path: Path, key: Path) -> None:
    with pytest.raises(ConfigError, match=r"keys/parts\.key: is a private key"):
        trust(tmp_path, key)


def test_hidden_files_among_the_trusted_keys_are_passed_over(tmp_path: Path, key: Path) -> None:
    (tmp_path / ".keep").touch()

    assert len(trust(tmp_path, public_file(key), tmp_path / ".keep").keys) == 1


def test_without_the_extra_it_is_said_what_to_install(
    unsigned: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)  # as Python marks a module that cannot be imported

    for call in (
        lambda: trust(tmp_path, public_file(key)),
        lambda: sign(unsigned, key),
        lambda: make_key(tmp_path / "x"),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'driftprint\[signing\]'"):
            call()


# Versions


def test_a_step_back_is_refused(tmp_path: Path) -> None:
    old, new = (read_manifest(make_bundle(tmp_path / str(version), version=version)) for version in (1, 2))

    check_not_older(new, old)
    check_not_older(new, new)
    with pytest.raises(BundleError, match="toy-1: is older than version 2"):
        check_not_older(old, new)


def test_a_bundle_of_another_name_is_no_step_back(tmp_path: Path) -> None:
    toy = read_manifest(make_bundle(tmp_path / "toy", version=2))
    other = read_manifest(make_bundle(tmp_path / "other", name="other", version=1))

    check_not_older(other, toy)


def test_a_bundle_written_over_a_signed_one_is_unsigned(tmp_path: Path, key: Path, trusted: TrustedKeys) -> None:
    path = make_bundle(tmp_path / "toy-1.driftprint")
    sign(path, key)
    bundle = read_bundle(path)

    write_bundle(path, bundle.manifest, bundle.model, bundle.golden)

    assert refusal(path, trusted).reason == "unsigned"

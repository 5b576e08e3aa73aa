import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import make_bundle
from tests.certificates import CODE_SIGNING, Holder
from tests.core.test_cli import refusal, succeed


@pytest.fixture
def key(tmp_path: Path) -> Path:
    succeed("bundle", "keygen", tmp_path / "parts.key")
    return tmp_path / "parts.key"


@pytest.fixture
def keys(tmp_path: Path, key: Path) -> Path:
    """The folder of trusted keys."""
    folder = tmp_path / "keys"
    folder.mkdir()
    key.with_name("parts.key.pub").rename(folder / "parts.pub")
    return folder


def test_keygen_tells_which_key_is_for_whom(tmp_path: Path) -> None:
    done = succeed("bundle", "keygen", tmp_path / "parts.key")

    private, public = done.stdout.splitlines()
    assert private == f"{tmp_path / 'parts.key'}: the private key; keep it secret"
    assert public.startswith(f"{tmp_path / 'parts.key.pub'}: the public key, for devices; sha256 ")
    assert "exists already" in refusal("bundle", "keygen", tmp_path / "parts.key")


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_a_bundle_is_signed_and_verified(tmp_path: Path, key: Path, keys: Path, zipped: bool) -> None:
    bundle = make_bundle(tmp_path / "toy-1.driftprint", zipped=zipped)

    signed = succeed("bundle", "sign", bundle, "--key", key).stdout
    verified = succeed("bundle", "verify", bundle, "--trusted", keys).stdout

    assert signed.startswith("toy-1: signed with the key of sha256 ")
    fingerprint = signed.split()[-1]
    assert "16 golden frames score as exported" in verified
    assert f"signed by parts.pub (sha256 {fingerprint[:16]}...)" in verified


def test_a_bundle_is_signed_with_a_certificate(tmp_path: Path, toy: Path) -> None:
    authority = Holder(tmp_path, "authority", authority=True)
    between = Holder(tmp_path, "between", authority, authority=True)
    signer = Holder(tmp_path, "signer", between, usage=CODE_SIGNING)
    keys = tmp_path / "keys"
    keys.mkdir()
    authority.certificate.rename(keys / "authority.pem")

    certificates = ("--certificate", signer.certificate, "--chain", between.certificate)
    succeed("bundle", "sign", toy, "--key", signer.key, *certificates)

    assert "signed by CN=signer, by authority.pem" in succeed("bundle", "verify", toy, "--trusted", keys).stdout


def test_a_chain_needs_a_certificate(toy: Path, key: Path) -> None:
    assert "--chain: needs --certificate" in refusal("bundle", "sign", toy, "--key", key, "--chain", key)


def test_verify_refuses_what_is_unsigned_foreign_or_altered(tmp_path: Path, toy: Path, key: Path, keys: Path) -> None:
    assert f"{toy}: is not signed, and must be" in refusal("bundle", "verify", toy, "--trusted", keys)

    succeed("bundle", "keygen", tmp_path / "stranger.key")
    succeed("bundle", "sign", toy, "--key", tmp_path / "stranger.key")
    foreign = refusal("bundle", "verify", toy, "--trusted", keys)
    assert f"{toy}: is signed by nobody whose key is in {keys} (parts.pub)" in foreign

    succeed("bundle", "sign", toy, "--key", key)
    (toy / "model.onnx").write_bytes(b"\xff")
    assert f"{toy}: model.onnx is not what was signed" in refusal("bundle", "verify", toy, "--trusted", keys)


def test_verify_without_keys_says_that_it_did_not_look_at_the_signature(toy: Path, key: Path) -> None:
    succeed("bundle", "sign", toy, "--key", key)

    assert "signature not checked" in succeed("bundle", "verify", toy).stdout


def test_a_damaged_bundle_is_not_signed(toy: Path, key: Path) -> None:
    (toy / "model.onnx").write_bytes(b"\xff")

    assert "does not match the checksum" in refusal("bundle", "sign", toy, "--key", key)
    assert not (toy / "signature").exists()


def test_wrong_keys_are_named(tmp_path: Path, toy: Path, key: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()

    assert f"{toy / 'manifest.json'}: not a private key" in refusal(
        "bundle", "sign", toy, "--key", toy / "manifest.json"
    )
    assert f"{folder}: holds no keys" in refusal("bundle", "verify", toy, "--trusted", folder)
    (folder / "parts.key").write_bytes(key.read_bytes())
    assert "parts.key: is a private key" in refusal("bundle", "verify", toy, "--trusted", folder)


def test_inspect_shows_whether_there_is_a_signature(toy: Path, key: Path) -> None:
    def signature() -> str:
        (line,) = (line for line in succeed("bundle", "inspect", toy).stdout.splitlines() if "signature" in line)
        return line

    assert signature().split() == ["signature", "none"]
    succeed("bundle", "sign", toy, "--key", key)
    assert "present" in signature()


def test_signatures_need_no_network(toy: Path, key: Path, keys: Path) -> None:
    program = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'):\n"
        "        raise SystemExit(f'asked for the network: {event} {arguments}')\n"
        "sys.addaudithook(refuse)\n"
        "from driftprint.cli import main\n"
        "main()\n"
    )

    for arguments in (("sign", str(toy), "--key", str(key)), ("verify", str(toy), "--trusted", str(keys))):
        command = [sys.executable, "-c", program, "bundle", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

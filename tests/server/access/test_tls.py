"""TLS with the certificates that `driftprint certificates` makes."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from driftprint.errors import ConfigError
from driftprint_server.access.tls import ServerTls, make_tls
from driftprint_server.certificates.authority import Files, Office, found
from driftprint_server.certificates.holder import Kind, holder_of
from tests.server.access.site import ANN, Site

HOLDER = holder_of(Kind.BROKER, "broker")


class Certified:
    """An authority, and a certificate of it for 127.0.0.1 where the server has it."""

    def __init__(self, folder: Path) -> None:
        self.office: Office = found(folder / "certificates", now=datetime.now(timezone.utc))
        self.cert, self.key = folder / "fleet.pem", folder / "fleet.key"
        self.issue()

    def issue(self) -> None:
        self.office.issue(HOLDER, hosts=["127.0.0.1"], force=True)
        self.put(self.key, self.files.key)
        self.put(self.cert, self.files.certificate)

    def put(self, path: Path, source: Path) -> None:
        """Exchange a file at once, as a careful renewal does."""
        shutil.copy(source, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    @property
    def files(self) -> Files:
        return self.office.files(HOLDER)

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.files.ca)

    def tls(self) -> ServerTls:
        return ServerTls(self.cert, self.key)


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    return Certified(tmp_path)


def serial(certified: Certified, port: int) -> str:
    """Of the certificate that the server shows."""
    import socket

    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        certified.trust().wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        shown = connection.getpeercert()
        assert shown
        return str(shown["serialNumber"])


def test_a_certificate_of_ours_serves_and_cookies_are_for_tls_alone(
    certified: Certified, make_site: Callable[..., Site]
) -> None:
    site = make_site(tls=certified.tls)
    client = site.client(verify=certified.trust())
    answer = client.post("/api/session", json=ANN)
    assert answer.status_code == 200
    assert answer.headers["set-cookie"].startswith("__Host-driftprint_session=")
    assert "Secure" in answer.headers["set-cookie"]
    assert client.get("/api/fleet").json() == "ann"


def test_old_versions_of_tls_are_refused(certified: Certified, make_site: Callable[..., Site]) -> None:
    site = make_site(tls=certified.tls)
    old = certified.trust()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1_1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(Exception, match=r"(?i)version|protocol"):
        site.client(verify=old).get("/healthz")


def test_a_renewed_certificate_is_shown_without_a_restart(certified: Certified, make_site: Callable[..., Site]) -> None:
    tls = certified.tls()
    site = make_site(tls=lambda: tls)
    former = serial(certified, site.port)
    assert not tls.refresh()
    certified.issue()
    assert tls.refresh()
    assert serial(certified, site.port) != former
    assert not tls.refresh()


def test_a_half_renewed_certificate_is_told_once_and_the_former_stays(
    certified: Certified, make_site: Callable[..., Site]
) -> None:
    tls = certified.tls()
    site = make_site(tls=lambda: tls)
    former = serial(certified, site.port)
    key = certified.key.read_bytes()
    certified.issue()
    renewed = certified.key.read_bytes()
    certified.key.write_bytes(key)
    with pytest.raises(ConfigError, match="is no key of"):
        tls.refresh()
    assert not tls.refresh()
    assert serial(certified, site.port) == former
    certified.key.write_bytes(renewed)
    os.utime(certified.key, ns=(1, 1))
    assert tls.refresh()
    assert serial(certified, site.port) != former


def test_without_files_there_is_no_tls_and_one_alone_will_not_do(certified: Certified) -> None:
    assert make_tls(None, None) is None
    assert make_tls(certified.cert, certified.key) is not None
    with pytest.raises(ConfigError, match=r"http\.key_file: missing; name both files"):
        make_tls(certified.cert, None)
    with pytest.raises(ConfigError, match=r"http\.cert_file: missing; name both files"):
        make_tls(None, certified.key)


def test_files_that_will_not_do_are_explained(certified: Certified, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.pem: cannot be read \(No such file"):
        ServerTls(tmp_path / "nowhere.pem", certified.key)
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    with pytest.raises(ConfigError, match="no certificate and key in PEM"):
        ServerTls(text, certified.key)
    other = Certified(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"is no key of .*; give both as they were issued"):
        ServerTls(certified.cert, other.key)

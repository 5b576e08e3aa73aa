"""Whether a real broker can be reached, is the one it should be, and lets the device in."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme

from driftprint.mqtt import MqttSettings
from driftprint_edge.doctor.broker import check_broker
from driftprint_edge.doctor.certificates import check_expiry, read_certificate, valid_until
from driftprint_edge.doctor.finding import Finding
from tests.brokers import Mosquitto, free_port, wait_for
from tests.edge_agent.doctor.findings import OK, PROBLEM, WARNING, verdicts

Start = Callable[..., Mosquitto]

NOW = datetime.now(timezone.utc).replace(microsecond=0)
DAY = timedelta(days=1)


class Certificates:
    """An authority, and the files that brokers and devices want of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = trustme.CA()
        folder.mkdir()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))

    def issue(
        self, name: str = "127.0.0.1", *, not_before: datetime | None = None, not_after: datetime | None = None
    ) -> tuple[Path, Path]:
        """A certificate and its key."""
        issued = self.authority.issue_cert(name, not_before=not_before, not_after=not_after)
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        return cert, key

    def broker(
        self,
        name: str = "127.0.0.1",
        *,
        require: bool = False,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> list[str]:
        """Lines of mosquitto.conf for a broker with a certificate."""
        cert, key = self.issue(name, not_before=not_before, not_after=not_after)
        lines = [f"cafile {self.ca_file}", f"certfile {cert}", f"keyfile {key}"]
        return [*lines, "require_certificate true"] if require else lines


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


def check(port: int, **settings: Any) -> dict[str, Finding]:
    broker = MqttSettings(host="127.0.0.1", port=port, **settings)
    findings = list(check_broker(broker, wall=NOW.timestamp(), seconds=2.0))
    verdicts(findings)
    return {finding.name: finding for finding in findings}


def test_a_broker_that_lets_anybody_in_is_fine(mosquitto: Mosquitto) -> None:
    assert verdicts(check(mosquitto.port).values()) == {"broker": OK, "broker.login": OK}


def test_the_doctor_comes_and_goes_under_a_name_of_its_own(mosquitto: Mosquitto) -> None:
    check(mosquitto.port)
    check(mosquitto.port)

    def gone() -> set[str]:
        return set(re.findall(r"Received DISCONNECT from (\S+)", mosquitto.log))

    wait_for(lambda: len(gone()) == 2, what=lambda: f"two to go\n{mosquitto.log}")
    assert all(name.startswith("driftprint-doctor-") for name in gone())


def test_a_broker_that_is_away_is_a_problem() -> None:
    finding = check(free_port())["broker"]
    assert finding.verdict is PROBLEM
    assert "nothing listens there" in finding.what


def test_a_name_that_nobody_has_is_a_problem() -> None:
    settings = MqttSettings(host="no-such-host.invalid")
    [finding] = check_broker(settings, wall=0.0)
    assert finding.verdict is PROBLEM
    assert "no-such-host.invalid:1883: no such name" in finding.what


def test_a_program_that_says_nothing_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = check(silent.getsockname()[1])["broker.login"]
    assert finding.verdict is PROBLEM
    assert "says nothing" in finding.what


def test_a_password_opens_the_door_and_a_wrong_one_does_not(start_mosquitto: Start, tmp_path: Path) -> None:
    tool = shutil.which("mosquitto_passwd") or "mosquitto_passwd"
    subprocess.run([tool, "-b", "-c", str(tmp_path / "passwords"), "pi", "right"], check=True, capture_output=True)
    broker = start_mosquitto(settings=["allow_anonymous false", f"password_file {tmp_path / 'passwords'}"])

    right = check(broker.port, username="pi", password="right")["broker.login"]
    wrong = check(broker.port, username="pi", password="wrong")["broker.login"]
    without = check(broker.port)["broker.login"]

    assert [right.verdict, wrong.verdict, without.verdict] == [OK, PROBLEM, PROBLEM]
    assert "refuses pi" in wrong.what
    assert "mqtt.password" in str(wrong.fix)
    assert "wrong" not in f"{wrong.what}{wrong.fix}"


def test_a_broker_with_a_good_certificate_is_fine(start_mosquitto: Start, certificates: Certificates) -> None:
    broker = start_mosquitto(settings=certificates.broker(not_after=NOW + 90.5 * DAY))
    found = check(broker.port, ca_file=certificates.ca_file)
    assert verdicts(found.values()) == {"broker": OK, "broker.tls": OK, "broker.login": OK}
    assert found["broker.tls"].what == "TLSv1.3, the broker's certificate expires in 90 days"


def test_a_certificate_that_expires_soon_is_a_warning(start_mosquitto: Start, certificates: Certificates) -> None:
    broker = start_mosquitto(settings=certificates.broker(not_after=NOW + 6.5 * DAY))
    found = check(broker.port, ca_file=certificates.ca_file)
    assert verdicts(found.values()) == {"broker": OK, "broker.tls": WARNING, "broker.login": OK}
    assert "expires in 6 days" in found["broker.tls"].what


def test_an_expired_certificate_is_refused(start_mosquitto: Start, certificates: Certificates) -> None:
    broker = start_mosquitto(settings=certificates.broker(not_before=NOW - 9 * DAY, not_after=NOW - DAY))
    found = check(broker.port, ca_file=certificates.ca_file)
    assert verdicts(found.values()) == {"broker": OK, "broker.tls": PROBLEM}
    assert "expired" in found["broker.tls"].what
    assert "renew the broker's certificate" in str(found["broker.tls"].fix)


def test_a_certificate_of_the_future_speaks_of_the_clock(start_mosquitto: Start, certificates: Certificates) -> None:
    broker = start_mosquitto(settings=certificates.broker(not_before=NOW + DAY, not_after=NOW + 9 * DAY))
    finding = check(broker.port, ca_file=certificates.ca_file)["broker.tls"]
    assert finding.verdict is PROBLEM
    assert "clock" in str(finding.fix)


def test_a_certificate_for_another_name_is_refused(start_mosquitto: Start, certificates: Certificates) -> None:
    broker = start_mosquitto(settings=certificates.broker("broker.example"))
    finding = check(broker.port, ca_file=certificates.ca_file)["broker.tls"]
    assert finding.verdict is PROBLEM
    assert "mqtt.host" in str(finding.fix)


def test_a_certificate_of_a_foreign_authority_is_refused(
    start_mosquitto: Start, certificates: Certificates, tmp_path: Path
) -> None:
    broker = start_mosquitto(settings=Certificates(tmp_path / "foreign").broker())
    finding = check(broker.port, ca_file=certificates.ca_file)["broker.tls"]
    assert finding.verdict is PROBLEM
    assert "mqtt.ca_file" in str(finding.fix)


def test_tls_on_a_port_without_it_is_a_problem(mosquitto: Mosquitto, certificates: Certificates) -> None:
    finding = check(mosquitto.port, ca_file=certificates.ca_file)["broker.tls"]
    assert finding.verdict is PROBLEM
    assert "mqtt.port" in str(finding.fix)


def test_no_tls_on_a_port_for_it_is_a_problem(start_mosquitto: Start, certificates: Certificates) -> None:
    broker = start_mosquitto(settings=certificates.broker())
    finding = check(broker.port)["broker.login"]
    assert finding.verdict is PROBLEM
    assert "set mqtt.ca_file" in str(finding.fix)


def test_a_broker_that_asks_for_a_certificate_takes_the_devices_own(
    start_mosquitto: Start, certificates: Certificates
) -> None:
    broker = start_mosquitto(settings=certificates.broker(require=True))
    cert_file, key_file = certificates.issue("pi.example", not_after=NOW + 20.5 * DAY)
    found = check(broker.port, ca_file=certificates.ca_file, cert_file=cert_file, key_file=key_file)
    assert verdicts(found.values()) == {
        "broker.own_certificate": WARNING,
        "broker": OK,
        "broker.tls": OK,
        "broker.login": OK,
    }
    assert found["broker.own_certificate"].what == f"{cert_file} expires in 20 days"


def test_a_broker_that_asks_for_a_certificate_refuses_a_device_without(
    start_mosquitto: Start, certificates: Certificates
) -> None:
    broker = start_mosquitto(settings=certificates.broker(require=True))
    finding = check(broker.port, ca_file=certificates.ca_file)["broker.login"]
    assert finding.verdict is PROBLEM
    assert "set mqtt.cert_file" in str(finding.fix)


def test_an_expired_certificate_of_the_devices_own_is_a_problem(
    start_mosquitto: Start, certificates: Certificates
) -> None:
    broker = start_mosquitto(settings=certificates.broker(require=True))
    cert_file, key_file = certificates.issue("pi.example", not_before=NOW - 9 * DAY, not_after=NOW - 2 * DAY)
    found = check(broker.port, ca_file=certificates.ca_file, cert_file=cert_file, key_file=key_file)
    assert found["broker.own_certificate"].what == f"{cert_file} expired 2 days ago"
    assert found["broker.own_certificate"].verdict is PROBLEM
    assert found["broker.login"].verdict is PROBLEM


def test_certificates_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    finding = check(1, ca_file=tmp_path / "ca.pem")["broker.tls"]
    assert finding.verdict is PROBLEM
    assert "mqtt.ca_file: cannot load" in finding.what


@pytest.mark.parametrize("year", [2027, 2049, 2050, 2120])
def test_the_day_a_certificate_expires_is_the_one_openssl_reads(certificates: Certificates, year: int) -> None:
    """From 2050 on certificates write years with four digits."""
    until = datetime(year, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
    cert, _ = certificates.issue("pi.example", not_before=NOW - DAY, not_after=until)
    assert valid_until(read_certificate(cert)) == until.timestamp()


def test_a_certificate_after_words_and_before_others_is_the_one_that_is_read(certificates: Certificates) -> None:
    cert, key = certificates.issue("pi.example")
    chain = cert.with_name("chain.pem")
    chain.write_text(f"issuer: me\n{cert.read_text()}{certificates.ca_file.read_text()}{key.read_text()}")
    assert read_certificate(chain) == ssl.PEM_cert_to_DER_cert(cert.read_text())


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x00", b"\x30\x80", b"0\x03\x30\x01\x00", b"\x05\x00\x05\x00"])
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        valid_until(der)


def test_any_part_of_a_certificate_is_refused_or_read_alike(certificates: Certificates) -> None:
    whole = read_certificate(certificates.issue("pi.example")[0])
    for length in range(len(whole)):
        try:
            until = valid_until(whole[:length])
        except ValueError:
            continue
        assert until == valid_until(whole)


@pytest.mark.parametrize(("days", "verdict"), [(-0.5, PROBLEM), (0.5, WARNING), (29.9, WARNING), (30.1, OK)])
def test_a_certificate_should_hold_for_a_month(days: float, verdict: object) -> None:
    now = time.time()
    assert check_expiry("x", "it", now + days * 86_400, now).verdict is verdict

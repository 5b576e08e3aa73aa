import stat
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from driftprint.errors import ConfigError
from driftprint.settings import load_settings
from driftprint.topics import DeviceTopic
from driftprint_edge.config import AgentSettings
from driftprint_server.certificates.access import SAID_BY_DEVICES, SAID_BY_THE_SERVER, access_file
from driftprint_server.certificates.authority import Office, found
from driftprint_server.certificates.holder import Holder, Kind, holder_of
from driftprint_server.certificates.instructions import for_holder
from driftprint_server.certificates.register import Issued
from tests.core.test_cli import refusal, succeed

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
DEVICE = holder_of(Kind.DEVICE, "pi-7@north")
DEPLOYED = Path(__file__).parents[2] / "deploy/mosquitto-tls"


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """A new authority's."""
    return found(tmp_path / "certificates", now=NOW)


def certificate_of(office: Office, holder: Holder) -> x509.Certificate:
    return x509.load_pem_x509_certificate(office.files(holder).certificate.read_bytes())


def later(office: Office, days: int) -> Office:
    return Office(office.folder, now=NOW + days * DAY)


def revoked_serials(office: Office) -> list[int]:
    crl = x509.load_pem_x509_crl((office.broker / "revoked.pem").read_bytes())
    return [one.serial_number for one in crl]


def users(office: Office) -> list[str]:
    lines = (office.broker / "acl").read_text().splitlines()
    return [line.removeprefix("user ") for line in lines if line.startswith("user ")]


def test_keys_are_for_the_owner_alone_and_on_p256(office: Office) -> None:
    office.issue(DEVICE)
    keys = [office.folder / "authority.key", office.files(DEVICE).key]
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600, 0o600]
    assert stat.S_IMODE(office.folder.stat().st_mode) == 0o700
    key = certificate_of(office, DEVICE).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_a_certificate_begins_a_day_ago_for_slow_clocks_and_lasts_398_days_or_as_asked(office: Office) -> None:
    office.issue(DEVICE)
    other = holder_of(Kind.DEVICE, "pi-8@north")
    office.issue(other, days=30)
    made = certificate_of(office, DEVICE)
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (NOW - DAY, NOW + 398 * DAY)
    assert certificate_of(office, other).not_valid_after_utc == NOW + 30 * DAY


def test_none_outlasts_the_authority(office: Office) -> None:
    later(office, 3600).issue(DEVICE)
    assert certificate_of(office, DEVICE).not_valid_after_utc == NOW + 3650 * DAY
    with pytest.raises(ConfigError, match="the authority has expired"):
        later(office, 3650).renew(DEVICE.name)


def test_a_brokers_certificate_has_all_its_names_and_is_for_no_client(office: Office) -> None:
    broker = holder_of(Kind.BROKER, "broker")
    office.issue(broker, hosts=["broker.example", "192.0.2.7", "2001:db8::1"])
    made = certificate_of(office, broker)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "2001:db8::1"]
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize("host", ["", "a b", "*.example", "http://broker", "broker:8883", "-x"])
def test_what_is_no_host_is_refused(office: Office, host: str) -> None:
    with pytest.raises(ConfigError, match="neither a host name nor an address"):
        office.issue(holder_of(Kind.BROKER, "broker"), hosts=[host])


@pytest.mark.parametrize(
    "name", ["", "+", "#", "a b", "pi/7", "pi\n7", "pi@north@x", "pi@", "@north", "pi@+", "..", "pi@..", "ü", "x" * 65]
)
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not "):
        holder_of(Kind.DEVICE, name)


def test_a_name_that_no_certificate_has_room_for_is_refused() -> None:
    assert holder_of(Kind.DEVICE, f"{'d' * 31}@{'s' * 32}").site == "s" * 32
    with pytest.raises(ConfigError, match="room for 64"):
        holder_of(Kind.DEVICE, f"{'d' * 32}@{'s' * 32}")


def test_a_server_cannot_be_named_like_a_device() -> None:
    with pytest.raises(ConfigError, match="not the name of a server"):
        holder_of(Kind.SERVER, "pi-7@north")


def test_a_second_key_takes_force_and_revokes_the_first(office: Office) -> None:
    office.issue(DEVICE)
    first = certificate_of(office, DEVICE)
    with pytest.raises(ConfigError, match="has a key already"):
        office.issue(DEVICE)
    assert certificate_of(office, DEVICE) == first
    office.issue(DEVICE, force=True)
    assert certificate_of(office, DEVICE).public_key() != first.public_key()
    assert revoked_serials(office) == [first.serial_number]
    assert users(office) == [DEVICE.name]


def test_a_name_is_one_holders(office: Office) -> None:
    office.issue(holder_of(Kind.READER, "house"))
    with pytest.raises(ConfigError, match="is a reader already"):
        office.issue(holder_of(Kind.SERVER, "house"), force=True)


def test_renewing_keeps_the_key_the_hosts_and_what_home_assistant_is_told(office: Office) -> None:
    broker = holder_of(Kind.BROKER, "broker")
    office.issue(broker, hosts=["broker.example"])
    office.issue(DEVICE, home_assistant="house")
    office.files(DEVICE).key.unlink()  # it may be on the device alone
    before = {holder: certificate_of(office, holder) for holder in (broker, DEVICE)}
    rules = (office.broker / "acl").read_text()
    next_year = later(office, 390)
    assert [one.name for one in next_year.expiring(30)] == ["broker", DEVICE.name]
    for one in next_year.expiring(30):
        next_year.renew(one.name)
    assert next_year.expiring(30) == []
    for holder, former in before.items():
        made = certificate_of(office, holder)
        assert made.public_key() == former.public_key()
        assert made.not_valid_after_utc == NOW + (390 + 398) * DAY
    assert next_year.hosts == ("broker.example",)
    assert (office.broker / "acl").read_text() == rules
    assert revoked_serials(office) == []


def test_a_key_that_is_revoked_is_not_renewed(office: Office) -> None:
    office.issue(DEVICE)
    file = office.files(DEVICE).certificate
    stolen = file.read_bytes()
    office.issue(DEVICE, force=True)
    file.write_bytes(stolen)
    with pytest.raises(ConfigError, match="not the certificate that was issued"):
        office.renew(DEVICE.name)
    file.write_text("x")
    with pytest.raises(ConfigError, match="not the certificate that was issued"):
        office.renew(DEVICE.name)


def test_revoking_takes_all_that_a_holder_has_and_stays(office: Office) -> None:
    office.issue(DEVICE)
    office.issue(holder_of(Kind.DEVICE, "pi-8@north"))
    serials = [certificate_of(office, DEVICE).serial_number]
    office.renew(DEVICE.name)
    serials.append(certificate_of(office, DEVICE).serial_number)
    later(office, 5).revoke(DEVICE.name)
    later(office, 9).issue(holder_of(Kind.SERVER, "server"))
    assert revoked_serials(office) == serials
    assert users(office) == ["pi-8@north", "server"]
    with pytest.raises(ConfigError, match="has no certificate"):
        later(office, 9).renew(DEVICE.name)


def test_a_list_of_the_revoked_holds_as_long_as_the_authority_and_later_ones_are_newer(office: Office) -> None:
    first = x509.load_pem_x509_crl((office.broker / "revoked.pem").read_bytes())
    later(office, 1).publish()
    second = x509.load_pem_x509_crl((office.broker / "revoked.pem").read_bytes())
    assert first.next_update_utc == second.next_update_utc == NOW + 3650 * DAY
    assert first.last_update_utc < second.last_update_utc <= NOW + DAY - DAY


def test_what_was_issued_is_written_down_before_it_is_handed_out(office: Office) -> None:
    office.files(DEVICE).folder.parent.write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        office.issue(DEVICE)
    assert list(later(office, 0).register.valid()) == [DEVICE.name]


def test_there_is_no_second_authority_in_a_folder_even_if_the_key_of_the_first_is_elsewhere(office: Office) -> None:
    before = (office.folder / "authority.pem").read_bytes()
    for _ in range(2):
        with pytest.raises(ConfigError, match="there is an authority already"):
            found(office.folder, now=NOW)
        (office.folder / "authority.key").unlink(missing_ok=True)
    assert (office.folder / "authority.pem").read_bytes() == before


def test_an_authority_that_is_missing_damaged_or_mixed_up_is_refused(office: Office, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no authority is there"):
        Office(tmp_path / "nowhere", now=NOW)
    other = found(tmp_path / "other", now=NOW)
    (office.folder / "authority.pem").write_bytes((other.folder / "authority.pem").read_bytes())
    with pytest.raises(ConfigError, match="is not its certificate's"):
        later(office, 0)
    (office.folder / "authority.pem").write_text("x")
    with pytest.raises(ConfigError, match="no authority's key and certificate"):
        later(office, 0)
    (other.folder / "issued.json").write_text("{")
    with pytest.raises(ConfigError, match="not a register"):
        later(other, 0)


def test_every_topic_of_a_device_is_said_by_it_or_by_the_server() -> None:
    assert {*SAID_BY_DEVICES, *SAID_BY_THE_SERVER} == set(DeviceTopic)
    assert not set(SAID_BY_DEVICES) & set(SAID_BY_THE_SERVER)


def test_the_deployed_rules_are_what_the_command_writes() -> None:
    house = "homeassistant"
    fleet = [
        (Kind.SERVER, "server", None),
        (Kind.DEVICE, "line-3@default", None),
        (Kind.DEVICE, "pi-7@north", house),
        (Kind.READER, "house", house),
        (Kind.BROKER, "broker", None),
    ]
    issued = [Issued(kind=kind, name=name, serial="1", until=NOW, home_assistant=ha) for kind, name, ha in fleet]
    assert (DEPLOYED / "acl").read_text() == access_file(issued)


def test_the_settings_that_are_told_are_an_agents(office: Office, tmp_path: Path) -> None:
    office.issue(holder_of(Kind.BROKER, "broker"), hosts=["mqtt.example", "192.0.2.7"])
    told = for_holder(office.issue(DEVICE), office.files(DEVICE), office.hosts).split("\n", 1)[1]
    config = tmp_path / "agent.toml"
    config.write_text(
        f"{told}[[stream]]\nname = 'belt'\nbundle = 'digits'\n[stream.source]\npath = 'x'\nframes_per_second = 1\n"
    )
    settings = load_settings(config, AgentSettings)
    assert (settings.device, settings.site) == ("pi-7", "north")
    mqtt = settings.mqtt
    assert (mqtt.host, mqtt.port, str(mqtt.key_file)) == ("mqtt.example", 8883, "/etc/driftprint/pi-7.key")


def test_the_command_makes_a_fleet_step_by_step(tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path / "ca"))
    assert "authority.key" in succeed("certificates", "init", *folder).stdout
    assert "/etc/mosquitto/driftprint" in succeed("certificates", "broker", "mqtt.example", *folder).stdout
    assert "server.toml" in succeed("certificates", "server", *folder).stdout
    told = succeed("certificates", "device", "line-3", "pi-7@north", "--days", "30", *folder).stdout
    assert 'host = "mqtt.example"' in told
    assert 'site = "default"' in told
    assert "line-3.pem" in succeed("certificates", "renew", *folder).stdout
    succeed("certificates", "revoke", "line-3", *folder)
    listed = succeed("certificates", "list", *folder).stdout.splitlines()
    assert [line.split()[1].rstrip(":") for line in listed if "revoked" in line] == ["line-3@default"] * 2
    assert len(listed) == 6
    assert "nobody's" in succeed("certificates", "renew", *folder).stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["device"], "whom for"),
        (["broker"], "name a host"),
        (["list", "x"], "takes no names"),
        (["server", "--home-assistant", "x"], "is for devices and readers"),
        (["device", "x", "--home-assistant", "a/#"], "not one level of a topic"),
        (["device", "x"], "certificates init"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_that_makes_no_sense_is_refused(tmp_path: Path, arguments: list[str], why: str) -> None:
    assert why in refusal("certificates", *arguments, "--folder", tmp_path)


def test_the_command_loads_nothing_until_it_is_used() -> None:
    program = "import sys, driftprint_server.certificates.cli; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

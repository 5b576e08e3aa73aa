"""The stack: what compose.yaml mounts is there and its programs take it; the systemd units' commands really run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import paho.mqtt.publish
import pytest
import yaml
from paho.mqtt import MQTTException

from driftprint.errors import ConfigError
from driftprint.messages import encode
from driftprint.version import VERSION
from driftprint_server.config import ServerSettings, read_settings
from tests.brokers import Mosquitto, find_mosquitto, free_port, wait_for
from tests.deploy.alerting_programs import DEPLOY, Program, find_program, told, with_examples
from tests.deploy.deployed_broker import DeployedBroker, add_users
from tests.server import messages
from tests.server.processes import ServerProcess

ROOT = DEPLOY.parent
COMPOSE = DEPLOY / "compose.yaml"
PROMETHEUS = DEPLOY / "prometheus/prometheus.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
SECRETS = {"DRIFTPRINT_MQTT_PASSWORD": "of-the-server", "GRAFANA_PASSWORD": "of-the-admin"}
SHARE = {"DRIFTPRINT_MQTT_SHARE": "of-the-replicas", "DRIFTPRINT_MQTT_ACKNOWLEDGE": "false"}
REPLICAS = ("replica-1", "replica-2")

UNITS = DEPLOY / "systemd"
SERVER_UNIT = UNITS / "driftprint-server.service"
DROP_INS = sorted(UNITS.glob("*.service.d/driftprint.conf"))
MOST_EXPOSURE = 2.0
INSTALLED = "/etc/driftprint"

PAGE = (ROOT / "docs/operating.md").read_text()
OF_THE_MACHINE = ("apt-get ", "python3 -m venv ", "/opt/driftprint/bin/pip ", "systemctl ", "until ")
"""Steps that change the machine itself, which a test leaves as it is."""


def steps(section: str) -> list[str]:
    """The blocks of commands of a section of docs/operating.md."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def walk(block: str, folder: Path, *, start: Path = ROOT) -> None:
    """Go through a block of commands, with a folder in place of /etc, but for those that change the machine itself."""
    commands = [line.removeprefix("sudo ") for line in block.splitlines()]
    script = "\n".join(line for line in commands if not line.startswith(OF_THE_MACHINE))
    script = re.sub(r"(?<![\w.])/etc/", f"{folder}/etc/", script.replace("sudo ", "").replace(" -g mosquitto", ""))
    code, said = told("bash", "-euc", f"cd {start}\n{script}")
    assert code == 0, said


def mounts(service: str) -> Iterator[tuple[Path, PurePosixPath]]:
    """The files and folders that a service mounts: here, and there. Not the volumes."""
    for volume in SERVICES[service].get("volumes", ()):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            yield (DEPLOY / source).resolve(), PurePosixPath(target)


def seen_by(service: str, folder: Path) -> None:
    """Copy to a folder, in place of the root folder, what a service's container mounts."""
    for here, there in mounts(service):
        target = folder / there.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if here.is_dir() else shutil.copy)(here, target)


def told_in_its_command(service: str, option: str) -> str:
    """What a service's command gives an option, such as --config.file."""
    [value] = [word.split("=", 1)[1] for word in SERVICES[service]["command"] if word.startswith(f"{option}=")]
    return str(value)


def compose(environment: dict[str, str], *arguments: str | Path) -> tuple[int, str]:
    """What compose itself says of the file: version 2, or version 1 where that is not there. It needs no engine."""
    command = [shutil.which("docker") or "docker", "compose"]
    if shutil.which("docker") is None or told(*command, "version")[0] != 0:
        command = [find_program("docker-compose", package="docker-compose")]
    return told(*command, "--file", COMPOSE, *arguments, environment=environment)


def given_to(service: str, env_file: dict[str, str]) -> dict[str, str]:
    """The settings that a service's container gives the server, by what is in .env."""
    given = dict(re.findall(r"(DRIFTPRINT_\w+)=(\S+)", (DEPLOY / "Dockerfile").read_text()))

    def found_in_env(variable: re.Match[str]) -> str:
        name, operator, default = variable.groups()
        return env_file.get(name) or (default if operator == "-" else "")

    for name, value in SERVICES[service]["environment"].items():
        given[name] = re.sub(r"\$\{(\w+):([-?])(.*)\}", found_in_env, value)
    return given


@pytest.mark.parametrize(("profile", "secrets"), [([], SECRETS), (["--profile", "replicas"], SECRETS | SHARE)])
def test_compose_takes_the_file(profile: list[str], secrets: dict[str, str]) -> None:
    code, said = compose(secrets, *profile, "config", "--quiet")
    assert code == 0, said


def test_replicas_are_started_where_they_are_asked_for_alone() -> None:
    asked_for = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert asked_for == {name: ["replicas"] for name in (*REPLICAS, "victoria-metrics")}


@pytest.mark.parametrize("secret", SECRETS)
def test_compose_refuses_to_start_without_a_secret(secret: str) -> None:
    code, said = compose({**SECRETS, secret: ""}, "config", "--quiet")
    assert code != 0
    assert "docs/operating.md" in said


def test_every_image_is_pinned() -> None:
    dockerfile = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    images = [service["image"] for service in SERVICES.values()] + dockerfile
    assert len(images) == 10
    assert {SERVICES[service]["image"] for service in ("server", *REPLICAS)} == {f"driftprint-server:{VERSION}"}
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+(-slim)?$", image)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_all_that_a_service_mounts_is_there(service: str) -> None:
    assert [here for here, _ in mounts(service) if not here.exists()] == []
    volumes = {volume.split(":")[0] for volume in SERVICES[service].get("volumes", ()) if not volume.startswith(".")}
    assert volumes == ({service} if service not in REPLICAS else set())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_do_little_and_is_reached_from_this_machine_alone(service: str) -> None:
    settings = SERVICES[service]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in settings
    mqtt = "${DRIFTPRINT_MQTT_ADDRESS:-127.0.0.1}:"
    assert all(port.startswith(("127.0.0.1:", mqtt)) for port in settings.get("ports", ()))


def test_prometheus_takes_what_is_commented_out_too(tmp_path: Path) -> None:
    text = with_examples(PROMETHEUS)
    (tmp_path / "prometheus.yml").write_text(text)
    by_name = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    server, replicas = by_name["driftprint"], by_name["driftprint-replicas"]
    assert (server["scheme"], list(server["authorization"])) == ("https", ["credentials_file"])
    assert replicas["dns_sd_configs"] == [{"names": ["replica"], "type": "A", "port": ServerSettings().http.port}]
    assert all(SERVICES[name]["networks"]["default"]["aliases"] == ["replica"] for name in REPLICAS)
    for name in (server["authorization"]["credentials_file"], server["tls_config"]["ca_file"]):
        (tmp_path / name).touch()
    shutil.copytree(DEPLOY / "prometheus/rules", tmp_path / "rules")
    shutil.copytree(DEPLOY / "prometheus/targets/compose", tmp_path / "targets")
    code, said = told(find_program("promtool", package="prometheus"), "check", "config", tmp_path / "prometheus.yml")
    assert code == 0, said


def test_prometheus_takes_what_its_container_sees(tmp_path: Path) -> None:
    seen_by("prometheus", tmp_path)
    config = told_in_its_command("prometheus", "--config.file")
    code, said = told(find_program("promtool", package="prometheus"), "check", "config", f"{tmp_path}{config}")
    assert code == 0, said
    assert "1 rule files found" in said
    assert "WARNING" not in said


def test_alertmanager_takes_what_its_container_sees(tmp_path: Path) -> None:
    seen_by("alertmanager", tmp_path)
    config = told_in_its_command("alertmanager", "--config.file")
    amtool = find_program("amtool", package="prometheus-alertmanager")
    code, said = told(amtool, "check-config", f"{tmp_path}{config}")
    assert code == 0, said
    assert "3 receivers" in said


def test_mosquitto_starts_with_what_its_container_sees_in_the_folder_of_its_volume(tmp_path: Path) -> None:
    service = SERVICES["mosquitto"]
    seen_by("mosquitto", tmp_path)
    program, option, config = service["command"]
    assert (program, option) == ("mosquitto", "-c")
    assert f"mosquitto:{service['working_dir']}" in service["volumes"]
    deployed = tmp_path / config.lstrip("/")
    add_users(tmp_path / "etc/driftprint/mosquitto/passwords", [("line-3", "of-line-3")])
    elsewhere = {
        "/etc/driftprint": f"{tmp_path}/etc/driftprint",
        "persistence true": f"persistence true\npersistence_location {tmp_path}/",
    }
    broker = DeployedBroker(find_mosquitto(), tmp_path / "run", deployed, elsewhere)
    try:
        broker.start()
    finally:
        broker.kill()
    [listener] = re.findall(r"^listener (\d+)$", deployed.read_text(), re.MULTILINE)
    assert service["healthcheck"]["test"][-1] == service["ports"][0].split(":")[-1] == listener


def test_grafana_finds_its_dashboards_where_its_provisioning_says() -> None:
    by_target = {str(there): here for here, there in mounts("grafana")}
    provisioning = by_target["/etc/grafana/provisioning"]
    [provider] = yaml.safe_load((provisioning / "dashboards/driftprint.yaml").read_text())["providers"]
    assert list(by_target[provider["options"]["path"]].glob("*.json"))
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_installed_without_containers_grafana_finds_prometheus_and_its_dashboards_there(tmp_path: Path) -> None:
    [grafana] = [block for block in steps("With systemd") if "grafana" in block]
    (tmp_path / "etc/grafana/provisioning/datasources").mkdir(parents=True)
    walk(grafana, tmp_path)
    provisioning = tmp_path / "etc/grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards/driftprint.yaml").read_text())["providers"]
    [address] = yaml.safe_load((DEPLOY / "prometheus/targets/systemd/prometheus.yml").read_text())[0]["targets"]
    assert source["url"] == f"http://{address}"
    assert list((tmp_path / provider["options"]["path"].lstrip("/")).glob("*.json"))


def test_the_secrets_that_the_page_makes_are_the_same_to_whoever_reads_them(tmp_path: Path) -> None:
    """Compose, the shell and systemd each have their own idea of a dollar, a hash, a quote and a backslash."""
    [making] = [line for line in steps("With compose")[0].splitlines() if line.startswith("printf ")]
    walk(making, tmp_path, start=tmp_path)
    made = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert set(made) == set(SECRETS)
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", secret) for secret in made.values())


def test_prometheus_looks_for_the_other_services_where_they_are() -> None:
    found = {}
    for path in (DEPLOY / "prometheus/targets/compose").iterdir():
        [group] = yaml.safe_load(path.read_text())
        found[path.stem] = group["targets"]
    ports = {name: service["ports"][0].split(":")[-1] for name, service in SERVICES.items() if "ports" in service}
    assert found == {name: [f"{name}:{ports[name]}"] for name in ("server", "prometheus", "alertmanager")}


def test_the_server_takes_the_settings_that_its_container_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = dict(re.findall(r"^ *# (DRIFTPRINT_\w+): (\S+)$", COMPOSE.read_text(), re.MULTILINE))
    for name, value in (given_to("server", SECRETS) | examples).items():
        monkeypatch.setenv(name, value)
    settings = read_settings(None)
    assert settings.broker == "mosquitto:1883"
    assert settings.mqtt.password is not None
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", ServerSettings().http.port)
    assert settings.mqtt.acknowledge
    assert settings.access.login, "the network reaches it"
    [volume] = (volume.split(":")[1] for volume in SERVICES["server"]["volumes"])
    assert f"STATE_DIRECTORY={volume}" in (DEPLOY / "Dockerfile").read_text()
    assert settings.rollout.bundles == Path(volume) / "bundles"


def test_the_server_beside_replicas_leaves_acknowledging_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given_to("server", SECRETS | SHARE).items():
        monkeypatch.setenv(name, value)
    assert not read_settings(None).mqtt.acknowledge


@pytest.mark.parametrize("replica", REPLICAS)
def test_a_replica_takes_the_settings_that_its_container_gives_it(
    replica: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given_to(replica, SECRETS | SHARE).items():
        monkeypatch.setenv(name, value)
    settings = read_settings(None)
    assert (settings.broker, settings.mqtt.share) == ("mosquitto:1883", SHARE["DRIFTPRINT_MQTT_SHARE"])
    assert settings.mqtt.acknowledge
    assert f"\nuser {settings.mqtt.username}\n" in (DEPLOY / "mosquitto/acl").read_text()
    [target] = settings.remote_write
    [port] = (port.split(":")[-1] for port in SERVICES["victoria-metrics"]["ports"])
    assert target.target == f"victoria-metrics:{port}"


def test_a_replica_whose_group_has_no_name_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server each would take every message in."""
    for name, value in given_to(REPLICAS[0], SECRETS).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"mqtt\.share"):
        read_settings(None)


def test_the_image_is_built_of_what_is_there_and_let_in() -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    let_in = set(re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    assert sources == let_in
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_without_containers_the_same_is_installed_as_in_the_image_and_again_at_an_upgrade() -> None:
    installed = re.compile(r"--constraint requirements\.lock '\.\[\S+\]'")
    [in_the_image] = installed.findall((DEPLOY / "Dockerfile").read_text())
    assert installed.findall(PAGE) == [in_the_image] * 2


def test_the_images_health_check_tells_a_healthy_server_from_others(mosquitto: Mosquitto, tmp_path: Path) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    python, *words = json.loads(dockerfile.split("HEALTHCHECK")[1].split("CMD ")[1].splitlines()[0])
    assert python == "/opt/driftprint/bin/python"
    server = ServerProcess(tmp_path, mosquitto.port, login=True)
    check = [word.replace("http://127.0.0.1:8466", server.url) for word in words]
    try:
        assert told(sys.executable, *check)[0] != 0
        server.start()
        assert told(sys.executable, *check)[0] == 0
        mosquitto.kill()
        wait_for(lambda: server.health()[0] == 503, what="the server to miss its broker")
        assert told(sys.executable, *check)[0] != 0
    finally:
        server.kill()


def test_the_servers_unit_exposes_little() -> None:
    analyse = find_program("systemd-analyze", package="systemd")
    code, said = told(analyse, "security", "--offline=yes", f"--threshold={10 * MOST_EXPOSURE:.0f}", SERVER_UNIT)
    assert code == 0, said
    _, said = told(analyse, "verify", SERVER_UNIT)
    assert [line for line in said.splitlines() if "is not executable" not in line] == []


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.parent.name)
def test_systemd_takes_debians_unit_with_the_drop_in(drop_in: Path, tmp_path: Path) -> None:
    unit = tmp_path / drop_in.parent.name.removesuffix(".d")
    debians = Path("/lib/systemd/system") / unit.name
    if not debians.exists():
        pytest.skip(f"{debians} is not installed")
    shutil.copy(debians, unit)
    shutil.copytree(drop_in.parent, tmp_path / drop_in.parent.name)
    analyse = find_program("systemd-analyze", package="systemd")
    code, said = told(analyse, "verify", unit)
    assert (code, [line for line in said.splitlines() if unit.name in line]) == (0, [])


def exec_start(unit: Path) -> list[str]:
    """The command of a unit or drop-in: the last one counts."""
    return shlex.split(re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)[-1])


@dataclass(frozen=True)
class Stack:
    """The four programs, run as the units say, but in a folder of the test and on free ports.

    Attributes:
        ports: by the port that each has when installed.
        folder: in place of the root folder.
        started: what runs, by its package.
    """

    ports: dict[str, int]
    folder: Path
    started: dict[str, Program] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """A command or configuration with the test's paths and ports."""
        text = re.sub("|".join(rf"\b{port}\b" for port in self.ports), lambda found: str(self.ports[found[0]]), text)
        return re.sub(r"(?<![\w.])/(etc/driftprint|var/lib)\b", rf"{self.folder}/\1", text)

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def install(self) -> None:
        """Go through the steps of docs/operating.md."""
        (self.folder / "etc/systemd/system").mkdir(parents=True)
        walk(steps("With systemd")[0], self.folder)
        etc = self.folder / INSTALLED.lstrip("/")
        for path in etc.rglob("*"):
            if path.is_file():
                path.write_text(self(path.read_text()).replace("15s", "1s"))
        if os.geteuid() == 0:  # else it changes to a user who may not read the test's folder
            with (etc / "mosquitto/mosquitto.conf").open("a") as config:
                config.write("user root\n")
        add_users(etc / "mosquitto/passwords", [("pi-1", "of-pi-1")])

    def unit(self, name: str) -> Path:
        """A unit or drop-in as it was installed."""
        return self.folder / "etc/systemd/system" / name

    def environment(self, name: str) -> dict[str, str]:
        """What an environment file has."""
        lines = (self.folder / INSTALLED.lstrip("/") / name).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def start(self, unit: Path, *, package: str, **options: Any) -> None:
        program, *arguments = (self(word) for word in exec_start(unit))
        name = PurePosixPath(program).name
        found = [sys.executable, "-m", name] if name == "driftprint" else [find_program(name, package=package)]
        self.started[package] = Program([*found, *arguments], self.folder / "run" / package, **options)

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url('9090')}/api/v1/query", params={"query": expression}, timeout=30).json()
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def publish(self, device: str, *, login: dict[str, str] | None) -> None:
        """Say that a device is there."""
        message = messages.state(site="default", device=device)
        paho.mqtt.publish.single(
            messages.topic_of(message),
            encode(message),
            qos=1,
            hostname="127.0.0.1",
            port=self.ports["1883"],
            auth=login,  # type: ignore[arg-type]
        )


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """All of it, running."""
    stack = Stack({port: free_port() for port in ("1883", "8466", "9090", "9093")}, tmp_path)
    stack.install()
    environment = {**stack.environment("server.env"), "STATE_DIRECTORY": str(tmp_path / "var/lib/driftprint-server")}
    server = stack.unit(SERVER_UNIT.name)
    try:
        stack.start(stack.unit("mosquitto.service.d/driftprint.conf"), package="mosquitto")
        stack.start(server, package="driftprint", environment=environment, ready=f"{stack.url('8466')}/healthz")
        for package, port in {"prometheus-alertmanager": "9093", "prometheus": "9090"}.items():
            unit = stack.unit(f"{package}.service.d/driftprint.conf")
            stack.start(unit, package=package, ready=f"{stack.url(port)}/-/ready")
        yield stack
    finally:
        for program in stack.started.values():
            program.kill()


def test_the_units_commands_start_a_stack_that_is_healthy(stack: Stack) -> None:
    healthy = 'count(up{job=~"driftprint|prometheus|alertmanager"} == 1) == 3'
    wait_for(lambda: stack.query(healthy), what=lambda: f"three targets, got {stack.query('up')}")
    api = f"{stack.url('9090')}/api/v1"
    rules = httpx.get(f"{api}/rules", timeout=30).json()["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    assert len(rules) == 5
    alertmanagers = httpx.get(f"{api}/alertmanagers", timeout=30).json()["data"]["activeAlertmanagers"]
    assert [one["url"] for one in alertmanagers] == [f"http://localhost:{stack.ports['9093']}/api/v2/alerts"]


def test_its_server_lets_in_who_has_the_password_that_it_has_printed_and_keeps_all_in_one_folder(stack: Stack) -> None:
    server = stack.started["driftprint"]
    [password] = re.findall(r"^Log in as admin with the password (\S+)$", server.log, re.MULTILINE)
    with httpx.Client(base_url=stack.url("8466"), timeout=60) as browser:
        assert browser.get("/api/fleet").status_code == 401
        assert browser.post("/api/session", json={"name": "admin", "password": password}).is_success
        assert browser.get("/api/fleet").is_success
    state = stack.folder / "var/lib/driftprint-server"
    assert {path.name for path in state.glob("*.db")} == {"server.db", "operators.db", "history.db"}
    config = stack.folder / INSTALLED.lstrip("/") / "server.toml"
    command = (sys.executable, "-m", "driftprint", "users", "list", "--config", config)
    code, said = told(*command, environment={"STATE_DIRECTORY": str(state)})
    assert (code, said.split()[:2]) == (0, ["admin", "operator"])


def test_its_broker_lets_in_those_with_a_password_and_holds_devices_to_their_own_topics(stack: Stack) -> None:
    login = {"username": "pi-1", "password": "of-pi-1"}
    for refused in (None, {**login, "password": "of-somebody"}):
        with pytest.raises(MQTTException):
            stack.publish("pi-1", login=refused)
    stack.publish("pi-2", login=login)
    stack.publish("pi-1", login=login)
    wait_for(lambda: stack.query("driftprint_device_up"), what="a device in Prometheus")
    assert [sample["metric"]["device"] for sample in stack.query("driftprint_device_up")] == ["pi-1"]

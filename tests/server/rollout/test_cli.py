"""``driftprint rollout`` against a real server that speaks HTTPS and asks who it is."""

from __future__ import annotations

import io
import json
import re
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from rich.console import Console
from typer.testing import CliRunner, Result

from driftprint.errors import DriftprintError
from driftprint_server.rollout.cli import TOKEN, rollout
from driftprint_server.rollout.client import RolloutClient
from driftprint_server.rollout.shown import plain, print_one
from driftprint_server.rollout.watching import watch
from tests.brokers import Mosquitto, free_port, wait_for
from tests.bundles import make_bundle
from tests.server.processes import ServerProcess
from tests.server.rollout.devices import Devices, fleet

QUICK = ("--stages", "30,100", "--soak-minutes", "0.02")


class Site:
    """A server with ten devices, and an operator at a terminal elsewhere."""

    def __init__(self, folder: Path, server: ServerProcess, devices: Devices, authority: Path) -> None:
        self.server = server
        self.devices = devices
        self.authority = authority
        self.token_file = folder / "token"
        self.token_file.write_text(server.users("token", "add", "ci", "--role", "operator") + "\n")
        self.client = RolloutClient(server.url, token=self.token_file.read_text().strip(), ca_file=authority)

    def run(self, *arguments: str, token: Path | None = None) -> Result:
        how = ("--server", self.server.url, "--ca-file", str(self.authority))
        return CliRunner().invoke(rollout, [*arguments, *how, "--token-file", str(token or self.token_file)])

    def succeed(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    def refusal(self, *arguments: str, token: Path | None = None) -> str:
        done = self.run(*arguments, token=token)
        assert isinstance(done.exception, DriftprintError), (done.output, done.exception)
        return str(done.exception)


@pytest.fixture
def site(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Site]:
    authority, issued = tmp_path / "ca.pem", trustme.CA()
    issued.cert_pem.write_to_path(authority)
    certificate = issued.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "server.key")
    http = f"cert_file = '{tmp_path}/server.pem'\nkey_file = '{tmp_path}/server.key'"
    trust = ssl.create_default_context(cafile=authority)
    with fleet(tmp_path, mosquitto, login=True, trust=trust, settings={"http": http}) as (server, devices):
        yield Site(tmp_path, server, devices, authority)


def test_a_script_uploads_a_bundle_and_waits_until_all_devices_run_it(site: Site, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "toy-7.driftprint", version=7)
    for _ in range(2):
        assert "toy-7: on the server" in site.succeed("upload", str(folder))
    said = site.succeed("start", "toy-7", *QUICK, "--watch")
    assert "token ci: start, toy-7 for streams that run toy in the fleet, 30, 100 %" in said
    assert "server: widen, from 30 % to 100 %" in said
    assert "10 run it" in said
    assert {str(bundle) for bundle in site.devices.runs().values()} == {"toy-7"}
    (one,) = json.loads(site.succeed("status", "--json"))["rollouts"]
    assert (one["bundle"], one["status"], one["progress"]) == ("toy-7", "done", {"running": 10})
    assert one["id"] in site.succeed("status")
    assert "running   north/pi-0/belt runs toy-7" in site.succeed("status", "toy-7")


def test_a_script_learns_by_the_exit_code_and_a_sentence_that_a_bundle_was_stopped(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(site.run, "start", "toy-2", "--stages", "30,100", "--watch")
        wait_for(lambda: len(site.devices.told_anything()) == 3, what="three to be told")
        site.devices.report(*site.devices.told_anything(), alarms=1)
        done = watching.result(timeout=60)
    assert done.exit_code == 1
    assert re.search(r"server: stop, \d alarms in", done.stdout)
    shown = site.succeed("status", "toy-2")
    assert re.search(r"^stopped: \d alarms in", shown, re.MULTILINE)
    assert "evidence toward a stop: 100%" in shown


def test_an_operator_stops_resumes_and_widens_by_the_bundles_name(site: Site) -> None:
    site.devices.follow = False
    begun = site.succeed("start", "toy-2", *QUICK)
    assert "toy-2: started as rollout" in begun
    assert site.succeed("stop", "toy-2", "--no-back") == "toy-2: stopped; devices stay as they are\n"
    assert site.succeed("resume", "toy-2") == "toy-2: goes on at 30 %\n"
    assert site.succeed("widen", "toy-2", "60") == "toy-2: reaches 60 %\n"
    rollout_id = begun.split()[-1]
    assert site.succeed("stop", rollout_id) == "toy-2: stopped; devices go back\n"
    assert site.refusal("stop", rollout_id).endswith(f"rollout {rollout_id} is stopped already")


def test_what_cannot_be_done_is_one_sentence_that_says_what_to_do(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.server.url
    assert site.refusal("start", "toy-9") == f"{url}: there is no bundle toy-9; upload it first"
    assert site.refusal("start", "toy") == f"{url}: bundle: toy is no NAME-VERSION of a bundle, as in parts-2"
    assert site.refusal("start", "toy-2", "--stages", "50,10") == f"{url}: stages: must ascend, as in 10, 50, 100"
    assert site.refusal("start", "toy-2", "--stages", "0") == (
        f"{url}: stages: must be per cent of the devices, each from 1 to 100"
    )
    assert site.refusal("start", "toy-2", "--device", "pi-1") == f"{url}: a device is named together with its site"
    assert "--stages: 'ten' is no whole number of per cent" in site.refusal("start", "toy-2", "--stages", "ten")
    for action, unknown in (("status", "toy-2"), ("status", "toy"), ("stop", "f00")):
        assert site.refusal(action, unknown) == (
            f"{url}: there is no rollout {unknown}, and none of such a bundle; "
            "driftprint rollout status lists all; a bundle is named with its version, as in parts-2"
        )
    assert "cannot be read" in site.refusal("upload", str(tmp_path / "none.driftprint"))
    (tmp_path / "broken.driftprint").write_bytes(b"PK and no more")
    assert "neither a folder nor a whole zip file" in site.refusal("upload", str(tmp_path / "broken.driftprint"))

    viewer, nobody = tmp_path / "viewer", tmp_path / "nobody"
    viewer.write_text(site.server.users("token", "add", "look"))
    nobody.write_text("driftprint_none")
    assert "may look, not act" in site.refusal("start", "toy-2", token=viewer)
    assert site.refusal("status", token=nobody).endswith(
        "asks who you are; give an operator's token: --token-file FILE, or DRIFTPRINT_TOKEN"
    )
    assert "no token can be read from it" in site.refusal("status", token=tmp_path / "nothing")

    monkeypatch.setenv(TOKEN, site.token_file.read_text())
    done = CliRunner().invoke(rollout, ["status", "--server", url])
    assert "its certificate is not trusted" in str(done.exception)
    assert "--ca-file" in str(done.exception)
    done = CliRunner().invoke(rollout, ["status", "--server", url, "--ca-file", str(site.authority)])
    assert "no rollouts so far" in done.stdout
    for address, why in ((f"http://127.0.0.1:{free_port()}", "cannot be reached"), ("gopher://x", "is no address")):
        done = CliRunner().invoke(rollout, ["status", "--server", address])
        assert why in str(done.exception), address
    assert json.loads(site.succeed("status", "--json"))["rollouts"] == []


def test_a_server_that_is_killed_and_comes_again_is_waited_for(site: Site) -> None:
    site.devices.follow = False
    begun = site.succeed("start", "toy-2", *QUICK)
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    asked = 0

    def wait(_seconds: float) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            site.server.kill()
        elif asked == 3:
            site.server.start()
        elif asked > 3:
            site.client.act(begun.split()[-1], "stop")

    found = watch(site.client, begun.split()[-1], console=screen, wait=wait)
    assert found.status.value == "stopped"
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert said.count("trying again") == 1
    assert "stage 1 of 2: 30 % of the devices" in said
    assert "token ci: stop, devices go back" in said


def test_a_rollout_that_is_held_says_why_and_one_that_has_stopped_can_be_left_so(site: Site) -> None:
    site.succeed("start", "toy-2", "--stages", "10,100")
    wait_for(site.devices.told_anything, what="one to be told")
    (one,) = site.devices.told_anything()
    wait_for(lambda: "1 run it" in site.succeed("status", "toy-2"), what="it to run it")
    site.devices.alarmed.add(one)
    wait_for(lambda: "in alarm with it" in site.succeed("status", "toy-2"), what="it to be held")
    said = site.succeed("status", "toy-2")
    assert re.search(rf"^stage 1 of 2: 10 % of the devices, held: north/{one} is in alarm with it$", said, re.MULTILINE)
    assert re.search(rf"^held since .* UTC: north/{one} is in alarm with it$", said, re.MULTILINE)
    assert " held " in site.succeed("status")
    held = site.server.metric('driftprint_server_rollouts{status="held"}')
    site.devices.report(one, alarms=3)
    wait_for(lambda: "\nstopped: " in site.succeed("status", "toy-2"), what="it to stop")
    stopped = site.server.metric('driftprint_server_rollouts{status="stopped"}')
    site.succeed("stop", "toy-2")
    assert (held, stopped, site.server.metric('driftprint_server_rollouts{status="stopped"}')) == (1, 1, 0)


def test_what_devices_say_cannot_steer_the_terminal(site: Site) -> None:
    nasty = "\x1b]0;hacked\x07 [red]toy-2[/red]\n"
    assert plain(nasty).plain == "\ufffd]0;hacked [red]toy-2[/red]\ufffd"
    site.succeed("start", "toy-2", *QUICK)
    one = site.client.get(site.client.find("toy-2"))
    members = tuple(member.model_copy(update={"error": nasty}) for member in one.members)
    screen = Console(file=io.StringIO(), width=300)
    print_one(screen, one.model_copy(update={"members": members, "reason": nasty}))
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in said
    assert said.count("[red]toy-2[/red]") == 1 + len(members)
    assert len(members) == 10


def test_the_help_tells_how_to_get_a_token_and_what_the_exit_code_means() -> None:
    said = CliRunner().invoke(rollout, ["--help"], env={"COLUMNS": "200"}).stdout
    assert "driftprint users token add ci --role operator" in said
    assert TOKEN in said
    assert "with 1 when it has stopped" in said

"""Users and tokens, and the command that keeps them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from driftprint.errors import ConfigError, DriftprintError
from driftprint_server.access.cli import RoleName, users
from driftprint_server.access.gate import Gate
from driftprint_server.access.identity import Identity, Role
from driftprint_server.access.passwords import Passwords
from driftprint_server.access.settings import AccessSettings
from driftprint_server.access.tables import operators_path
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore
from tests.server.clocks import FakeClock


class Kept:
    """Users and tokens beside a running server's store, and its settings."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(wall=2_000_000_000.0)  # the command's own is the machine's
        self.config = folder / "server.toml"
        self.config.write_text(f"[store]\npath = '{folder / 'server.db'}'\n")
        self.path = operators_path(folder / "server.db")
        self.store = OperatorStore(self.path)
        self.audit = Audit(self.store, self.clock)
        self.gate = Gate(AccessSettings(), store=self.store, audit=self.audit, clock=self.clock)

    def run(self, *arguments: str, said: str | None = None) -> Result:
        return CliRunner().invoke(users, [*arguments, "--config", str(self.config)], input=said)

    def succeed(self, *arguments: str, said: str | None = None) -> str:
        done = self.run(*arguments, said=said)
        assert done.exit_code == 0, done.exception
        return done.stdout

    def refusal(self, *arguments: str, said: str | None = None) -> str:
        done = self.run(*arguments, said=said)
        assert isinstance(done.exception, DriftprintError), done
        assert done.stdout == ""
        return str(done.exception)

    def knows(self, name: str, password: str) -> bool:
        login = self.gate.users.login(name)
        return login is not None and Passwords().matches(login.password, password)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.store.close()


def test_at_first_start_there_is_one_operator_whose_password_is_told_once(kept: Kept) -> None:
    password = kept.gate.users.first()
    assert password is not None
    assert kept.knows("admin", password)
    assert [(user.name, user.role) for user in kept.gate.users.all()] == [("admin", Role.OPERATOR)]
    assert kept.gate.users.first() is None
    assert password.encode() not in b"".join(path.read_bytes() for path in kept.path.parent.iterdir())
    assert [(line.who, line.action) for line in kept.audit.lines(limit=9)] == [("server", "user.add")]


def test_the_file_is_its_owners_alone(kept: Kept) -> None:
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600


def test_the_command_adds_a_user_for_the_running_server(kept: Kept) -> None:
    name, _, password = kept.succeed("add", "vera").strip().partition(": ")
    assert name == "vera"
    assert kept.knows("vera", password)
    kept.succeed("add", "ann@example.org", "--role", "operator", "--ask", said="correct horse battery\n")
    assert kept.knows("ann@example.org", "correct horse battery")
    listed = kept.succeed("list").splitlines()
    assert [line.split()[:2] for line in listed] == [["ann@example.org", "operator"], ["vera", "viewer"]]
    line = kept.audit.lines(limit=1)[0]
    assert (line.action, line.target) == ("user.add", "ann@example.org")
    assert line.who.endswith("on the command line")


def test_the_command_gives_a_new_password(kept: Kept) -> None:
    first = kept.gate.users.first()
    assert first is not None
    _, _, password = kept.succeed("password", "admin").strip().partition(": ")
    assert kept.knows("admin", password)
    assert not kept.knows("admin", first)
    assert "gave" in kept.succeed("password", "admin", "--ask", said="correct horse battery\n")
    assert kept.knows("admin", "correct horse battery")


def test_the_command_removes_a_user_but_never_the_last_operator(kept: Kept) -> None:
    kept.gate.users.first()
    kept.succeed("add", "vera")
    assert "admin: is the last operator; first: driftprint users add" in kept.refusal("remove", "admin")
    kept.succeed("remove", "vera")
    kept.succeed("add", "ann", "--role", "operator")
    kept.succeed("remove", "admin")
    assert [user.name for user in kept.gate.users.all()] == ["ann"]


def test_the_command_makes_lists_and_removes_tokens(kept: Kept) -> None:
    token = kept.succeed("token", "add", "prometheus").strip()
    assert kept.gate.tokens.find(token) == Identity(name="token prometheus", role=Role.VIEWER)
    kept.succeed("token", "add", "deploy", "--role", "operator", "--days", "30")
    deploy, prometheus = kept.succeed("token", "list").splitlines()
    assert "operator  until 20" in deploy
    assert "never used" in deploy
    assert "viewer    for ever, last used 2033-05-18 03:33 UTC" in prometheus
    kept.succeed("token", "remove", "prometheus")
    assert kept.gate.tokens.find(token) is None


def test_tokens_can_be_told_by_how_they_begin_and_hold_256_bits(kept: Kept) -> None:
    made = {kept.gate.tokens.add(f"token-{number}", Role.VIEWER, who="test") for number in range(20)}
    assert len(made) == 20
    assert all(token.startswith("driftprint_") and len(token) == len("driftprint_") + 43 for token in made)


@pytest.mark.parametrize(
    ("arguments", "said", "refusal"),
    [
        (["add", "two words"], None, "'two words': not a name; use 1 to 64 letters, digits"),
        (["add", "x" * 65], None, "not a name"),
        (["add", "admin"], None, "admin: is a user already; `driftprint users password` gives a new one"),
        (["add", "vera", "--ask"], "short\n", "password: has 5 characters; use 12 to 1024"),
        (["password", "admin", "--ask"], "", "password: has 0 characters"),
        (["password", "nobody"], None, "nobody: no such user; `driftprint users list` shows them all"),
        (["remove", "nobody"], None, "nobody: no such user"),
        (["token", "add", "taken"], None, "taken: is a token already; take another name"),
        (["token", "remove", "nothing"], None, "nothing: no such token; `driftprint users token list`"),
    ],
)
def test_what_the_command_cannot_do_it_explains(
    kept: Kept, arguments: list[str], said: str | None, refusal: str
) -> None:
    kept.gate.users.first()
    kept.gate.tokens.add("taken", Role.VIEWER, who="test")
    before = kept.gate.users.all(), kept.gate.tokens.all(), kept.audit.lines(limit=99)
    assert refusal in kept.refusal(*arguments, said=said)
    assert (kept.gate.users.all(), kept.gate.tokens.all(), kept.audit.lines(limit=99)) == before


def test_before_the_servers_first_start_the_command_makes_no_file_that_might_be_another_users(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text(f"[store]\npath = '{tmp_path / 'server.db'}'\n")
    done = CliRunner().invoke(users, ["list", "--config", str(config)])
    assert isinstance(done.exception, ConfigError)
    assert "operators.db: not there; start the server once" in str(done.exception)
    assert not operators_path(tmp_path / "server.db").exists()


def test_the_commands_roles_are_the_servers() -> None:
    assert {role.value for role in RoleName} == {role.value for role in Role}

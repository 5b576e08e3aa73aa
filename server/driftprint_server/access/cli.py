"""``driftprint users``: who may see the server's page, and who may act on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from driftprint_server.access.tokens import Tokens
    from driftprint_server.access.users import Users

users = typer.Typer(
    name="users",
    no_args_is_help=True,
    help="Who may log in at the server's page, and tokens for programs. "
    "Run it on the server's machine, as the server's user; a change holds at once, whether the server runs or not.",
)
token = typer.Typer(name="token", no_args_is_help=True, help="Tokens, by which programs read and act.")
users.add_typer(token, name="token")


class RoleName(str, Enum):
    """The values of `driftprint_server.access.identity.Role`, whose module is slow to load."""

    VIEWER = "viewer"
    OPERATOR = "operator"


_Config = Annotated[Path | None, typer.Option("--config", "-c", help="The server's settings: server.toml.")]
_Name = Annotated[str, typer.Argument(help="The user's name.", show_default=False)]
_TokenName = Annotated[str, typer.Argument(help="What it is for.", show_default=False)]
_RoleOption = Annotated[RoleName, typer.Option(help="A viewer sees everything; an operator acts, too.")]
_Ask = Annotated[
    bool, typer.Option("--ask", help="Ask for the password, or read a line of standard input; else make a random one.")
]


@users.command("list")
def list_users(config: _Config = None) -> None:
    """List all users."""
    with _opened(config) as (people, _, _):
        for user in people.all():
            print(f"{user.name:24} {user.role.value:9} since {_day(user.made_at)}")


@users.command("add")
def add_user(name: _Name, role: _RoleOption = RoleName.VIEWER, ask: _Ask = False, config: _Config = None) -> None:
    """Add a user, and print their password."""
    from driftprint_server.access.identity import Role

    with _opened(config) as (people, _, who):
        password = _password(ask=ask)
        people.add(name, Role(role.value), password, who=who)
    _say_password(name, password, ask=ask)


@users.command("password")
def set_password(name: _Name, ask: _Ask = False, config: _Config = None) -> None:
    """Give a user another password, and log them out everywhere."""
    with _opened(config) as (people, _, who):
        password = _password(ask=ask)
        people.set_password(name, password, who=who)
    _say_password(name, password, ask=ask)


@users.command("remove")
def remove_user(name: _Name, config: _Config = None) -> None:
    """Remove a user, and log them out."""
    with _opened(config) as (people, _, who):
        people.remove(name, who=who)
    print(f"removed {name}")


@token.command("list")
def list_tokens(config: _Config = None) -> None:
    """List all tokens; what they are, nobody knows any more."""
    with _opened(config) as (_, tokens, _):
        for one in tokens.all():
            ends = "for ever" if one.expires_at is None else f"until {_day(one.expires_at)}"
            used = "never used" if one.used_at is None else f"last used {_day(one.used_at)}"
            print(f"{one.name:24} {one.role.value:9} {ends}, {used}")


@token.command("add")
def add_token(
    name: _TokenName,
    role: _RoleOption = RoleName.VIEWER,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="How long it is good for. Default: for ever.")
    ] = None,
    config: _Config = None,
) -> None:
    """Make a token, and print it."""
    from driftprint_server.access.identity import Role

    with _opened(config) as (_, tokens, who):
        made = tokens.add(name, Role(role.value), who=who, days=days)
    print(made)
    print("shown this once; a program sends it as: Authorization: Bearer TOKEN", file=sys.stderr)


@token.command("remove")
def remove_token(name: _TokenName, config: _Config = None) -> None:
    """Make a token worthless."""
    with _opened(config) as (_, tokens, who):
        tokens.remove(name, who=who)
    print(f"removed {name}")


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Users, Tokens, str]]:
    """The users and tokens of the server with these settings, and who asks."""
    import getpass

    from driftprint.clock import SystemClock
    from driftprint.errors import ConfigError, MissingExtraError

    try:
        from driftprint_server.access.passwords import Passwords
        from driftprint_server.access.tables import operators_path
        from driftprint_server.access.tokens import Tokens
        from driftprint_server.access.users import Users
        from driftprint_server.audit import Audit
        from driftprint_server.config import read_settings
        from driftprint_server.operators import OperatorStore
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"driftprint users needs the package {error.name}", extra="server") from None

    path = operators_path(read_settings(config).store.path)
    if not path.is_file():
        # Made here it could belong to a user who is not the server's.
        raise ConfigError(
            "not there", where=str(path), fix="start the server once, as it makes this file; is --config the server's?"
        )
    store = OperatorStore(path)
    try:
        clock = SystemClock()
        audit = Audit(store, clock)
        people = Users(store, audit=audit, clock=clock, passwords=Passwords())
        yield people, Tokens(store, audit=audit, clock=clock), f"{getpass.getuser()} on the command line"
    finally:
        store.close()


def _password(*, ask: bool) -> str:
    from driftprint_server.access.passwords import new_password

    if not ask:
        return new_password()
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))


def _say_password(name: str, password: str, *, ask: bool) -> None:
    if ask:
        print(f"{name} has the password you gave")
    else:
        print(f"{name}: {password}")
        print("shown this once", file=sys.stderr)


def _day(at: float) -> str:
    from datetime import datetime, timezone

    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")

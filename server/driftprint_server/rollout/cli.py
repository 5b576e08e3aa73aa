"""``driftprint rollout``: rollouts without a browser, for people and for scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import JsonValue

    from driftprint_server.rollout.client import RolloutClient
    from driftprint_server.rollout.views import RolloutView

TOKEN = "DRIFTPRINT_TOKEN"
"""In the environment: an operator's token."""
STOPPED = 1
"""The exit code where a rollout that was watched has stopped."""

rollout = typer.Typer(
    name="rollout",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Give devices another bundle: to some first, to the others once it has run well there.\n\n"
    "`driftprint rollout upload parts-2.driftprint`, then `driftprint rollout start parts-2 --watch`, which ends with "
    "0 when all devices run it, and with 1 when it has stopped because they alarm more or do not take it.\n\n"
    "It asks a running server, which `--server` names, with an operator's token: `driftprint users token add ci --role "
    f"operator` on the server's machine prints one. Put it into the environment as {TOKEN}, or into a file.",
)

_Server = Annotated[str, typer.Option("--server", envvar="DRIFTPRINT_SERVER", help="The server's address.")]
_TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help=f"A file that holds an operator's token. Else {TOKEN}, or none.")
]
_CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="The authority of the server's certificate. Else the system's.")
]
_Which = Annotated[
    str,
    typer.Argument(help="A rollout's id, or its bundle, as in `parts-2`: the latest one of it.", show_default=False),
]
_Watch = Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is over; exit code 1 where it has stopped.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
_LOCAL = "http://127.0.0.1:8466"


@rollout.command("upload")
def upload(
    bundle: Annotated[Path, typer.Argument(help="A bundle's zip file or folder.", show_default=False)],
    server: _Server = _LOCAL,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Put a bundle on the server, from where devices fetch it. The same once more changes nothing."""
    with _asking(server, token_file, ca_file) as client:
        found = client.upload(bundle)
    signed = f"signed by {found.signed_by}" if found.signed_by else "its signature was not asked for"
    print(f"{found.id}: on the server, {found.bytes:,} bytes, {signed}")


@rollout.command("start")
def start(
    bundle: Annotated[str, typer.Argument(help="Name and version, as in `parts-2`.", show_default=False)],
    site: Annotated[str | None, typer.Option(help="Only there. Else the whole fleet.")] = None,
    device: Annotated[str | None, typer.Option(help="Only this one, at --site.")] = None,
    stream: Annotated[
        str | None,
        typer.Option(help="Only streams of this name, whatever they run. Else all that run a bundle of the same name."),
    ] = None,
    stages: Annotated[
        str, typer.Option(help="Per cent of the devices, ascending; of each stage at least one device.")
    ] = "10,50,100",
    soak_minutes: Annotated[
        float, typer.Option(min=0, help="How long each stage must run well on all its devices that are online.")
    ] = 60.0,
    watch: _Watch = False,
    server: _Server = _LOCAL,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Begin to roll a bundle out. It goes on from stage to stage, or stops, by itself.

    Example: `driftprint rollout start parts-2 --site north --stages 10,50,100 --soak-minutes 60 --watch`
    """
    order: dict[str, JsonValue] = {
        "bundle": bundle,
        "site": site,
        "device": device,
        "stream": stream,
        "stages": [*_percents(stages)],
        "soak_seconds": 60 * soak_minutes,
    }
    with _asking(server, token_file, ca_file) as client:
        begun = client.start(order)
        _say(begun, f"started as rollout {begun.id}")
        if watch:
            _watch(client, begun.id)


@rollout.command("status")
def status(
    which: Annotated[
        str | None,
        typer.Argument(
            help="A rollout's id, or its bundle: the latest one of it. Without it: all.", show_default=False
        ),
    ] = None,
    watch: _Watch = False,
    as_json: _Json = False,
    server: _Server = _LOCAL,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Show all rollouts, or one with its streams, those in trouble first, and its history.

    With `--watch` alone it is the latest one that is watched.
    """
    from rich.console import Console

    with _asking(server, token_file, ca_file) as client:
        if watch:
            _watch(client, client.find(which))
            return
        if which is None:
            found = client.all()
            if as_json:
                print(found.model_dump_json(indent=2))
                return
            from driftprint_server.rollout.shown import print_all

            print_all(Console(), found)
            return
        one = client.get(client.find(which))
    if as_json:
        print(one.model_dump_json(indent=2))
        return
    from driftprint_server.rollout.shown import print_one

    print_one(Console(soft_wrap=True), one)


@rollout.command("stop")
def stop(
    which: _Which,
    back: Annotated[
        bool, typer.Option("--back/--no-back", help="Whether devices that run it go back to what they ran before.")
    ] = True,
    server: _Server = _LOCAL,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Give the bundle to nobody else, and take it back from those that run it."""
    with _asking(server, token_file, ca_file) as client:
        stopped = client.act(client.find(which), "stop", back=back)
    _say(stopped, "stopped; devices go back" if back else "stopped; devices stay as they are")


@rollout.command("resume")
def resume(
    which: _Which,
    watch: _Watch = False,
    server: _Server = _LOCAL,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Go on with a rollout that has stopped. What spoke against it until now counts no more."""
    with _asking(server, token_file, ca_file) as client:
        resumed = client.act(client.find(which), "resume")
        _say(resumed, f"goes on at {resumed.percent} %")
        if watch:
            _watch(client, resumed.id)


@rollout.command("widen")
def widen(
    which: _Which,
    percent: Annotated[int, typer.Argument(min=1, max=100, help="Of the devices.", show_default=False)],
    watch: _Watch = False,
    server: _Server = _LOCAL,
    token_file: _TokenFile = None,
    ca_file: _CaFile = None,
) -> None:
    """Reach more devices now, without waiting for the end of the present stage."""
    with _asking(server, token_file, ca_file) as client:
        widened = client.act(client.find(which), "widen", percent=percent)
        _say(widened, f"reaches {widened.percent} %")
        if watch:
            _watch(client, widened.id)


@contextmanager
def _asking(server: str, token_file: Path | None, ca_file: Path | None) -> Iterator[RolloutClient]:
    """Asks a server."""
    from driftprint.errors import ConfigError, MissingExtraError

    try:
        from driftprint_server.rollout.client import RolloutClient
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"driftprint rollout needs the package {error.name}", extra="server") from None

    token = os.environ.get(TOKEN)
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="ascii")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"no token can be read from it ({error})", where=str(token_file)) from None
    token = (token or "").strip()
    if not token.isprintable():
        raise ConfigError("holds more than one line", where=str(token_file or TOKEN), fix="give the token alone")
    yield RolloutClient(server, token=token or None, ca_file=ca_file)


def _watch(client: RolloutClient, rollout_id: str) -> None:
    """Watch it to its end, and exit with the code for that."""
    import time

    from rich.console import Console

    from driftprint_server.rollout.model import Status
    from driftprint_server.rollout.watching import watch

    found = watch(client, rollout_id, console=Console(soft_wrap=True, highlight=False), wait=time.sleep)
    if found.status is Status.STOPPED:
        raise typer.Exit(STOPPED)


def _say(one: RolloutView, what: str) -> None:
    print(f"{one.bundle}: {what}", flush=True)


def _percents(text: str) -> Iterator[int]:
    from driftprint.errors import ConfigError

    for part in text.split(","):
        if not part.strip().isdecimal():
            raise ConfigError(
                f"{part.strip()!r} is no whole number of per cent", where="--stages", fix="as in 10,50,100"
            )
        yield int(part)

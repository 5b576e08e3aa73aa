"""Puts the command together from the shared library's subcommands and those of the installed parts.

A part adds a subcommand with an entry point in the group ``driftprint.commands``: a function that typer
turns into a command, or a group of them. Its module imports nothing heavy at the top, so that ``--help`` stays instant.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from driftprint.cli.bundle import bundle
from driftprint.cli.score import score
from driftprint.errors import DriftprintError
from driftprint.version import VERSION

ENTRY_POINTS = "driftprint.commands"


def main() -> None:
    """Run the command line. Whatever is wrong with what the user gave is one line and exit code 2."""
    try:
        build_app()()
    except DriftprintError as error:
        print(f"driftprint: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def build_app() -> typer.Typer:
    """The whole command with every installed part's subcommands."""
    app = typer.Typer(
        name="driftprint",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        help="Know, on the device, when a model is looking at data it was not trained for. "
        "Start with **driftprint demo**.",
    )
    app.callback()(_root)
    for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry_point: entry_point.name):
        command = entry_point.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry_point.name)
        else:
            app.command(entry_point.name)(command)
    app.command("score")(score)
    app.add_typer(bundle, name="bundle")
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"driftprint {VERSION}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass

"""The one command, ``driftprint``."""

from driftprint.cli.app import main

__all__ = ["main"]

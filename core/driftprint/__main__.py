"""``python -m driftprint``: the command, where its script is not on the path."""

from driftprint.cli import main

main()

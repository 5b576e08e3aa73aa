"""A real mosquitto with a configuration that we ship."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.brokers import Mosquitto, wait_for
from tests.deploy.alerting_programs import find_program


class DeployedBroker(Mosquitto):
    """A mosquitto with the deployed settings; only its port, its user and what is named here are others.

    Args:
        binary: the mosquitto executable.
        folder: for its configuration and log.
        deployed: the configuration.
        elsewhere: what stands in it, and what takes its place.
    """

    def __init__(self, binary: str, folder: Path, deployed: Path, elsewhere: Mapping[str, str]) -> None:
        super().__init__(binary, folder)
        text, listeners = re.subn(
            r"^listener \d+$", f"listener {self.port} {self.host}", deployed.read_text(), flags=re.MULTILINE
        )
        assert listeners == 1
        for there, here in elsewhere.items():
            assert there in text
            text = text.replace(there, here)
        (folder / "mosquitto.conf").write_text(f"user root\n{text}")

    def reload(self) -> None:
        """SIGHUP, as `systemctl reload` does."""
        assert self._process is not None
        reloads = self.log.count("Reloading config")
        self._process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log.count("Reloading config") > reloads, what="the broker to read its files again")


def add_users(passwords: Path, users: Iterable[tuple[str, str]]) -> None:
    """Add users and their passwords to a file for mosquitto, which is made where it is missing."""
    passwords.touch(mode=0o600)
    for user, password in users:
        command = [find_program("mosquitto_passwd", package="mosquitto"), "-b", str(passwords), user, password]
        subprocess.run(command, check=True, timeout=30)

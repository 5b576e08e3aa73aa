"""A real PostgreSQL for tests: its own free port and folder, to be stopped and started again at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from tests.brokers import DEADLINE_SECONDS, free_port, wait_for


class Postgres:
    """A PostgreSQL that trusts whoever connects over the loopback. It keeps port and folder over restarts.

    Args:
        binaries: the folder of initdb and postgres.
    """

    def __init__(self, binaries: Path) -> None:
        self.port = free_port()
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        # Whoever it runs as must be able to reach the folder, which pytest's own do not allow.
        self._folder = Path(tempfile.mkdtemp(prefix="driftprint-postgres-"))
        self._user = _user()
        if self._user is not None:
            os.chown(self._folder, *pwd.getpwnam(self._user)[2:4])
        self._run("initdb", "-D", str(self._data), "-U", "driftprint", "--auth=trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, user=self._user, cwd=self._folder
            )
        wait_for(self._answers, what=lambda: (self._folder / "log").read_text())

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=DEADLINE_SECONDS)
            self._process = None

    def remove(self) -> None:
        """End it, and remove all it has written."""
        self.kill()
        shutil.rmtree(self._folder)

    def new_database(self) -> URL:
        """The URL of an empty database."""
        self._databases += 1
        name = f"history_{self._databases}"
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            db.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return URL.create("postgresql", "driftprint", host="127.0.0.1", port=self.port, database=name)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _url(self, name: str) -> URL:
        return URL.create("postgresql+psycopg", "driftprint", host="127.0.0.1", port=self.port, database=name)

    def _answers(self) -> bool:
        command = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, user=self._user, cwd=self._folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


def find_postgres() -> Path:
    """The folder of PostgreSQL's programs; without them the test is skipped, or fails where CI is "true"."""
    folders = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))]
    if not folders and (on_path := shutil.which("postgres")):
        folders = [Path(on_path).resolve().parent]
    if not folders:
        missing = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return folders[-1]


def _user() -> str | None:
    """Whom to run it as: it refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"

"""Disks that take no writes, while a store is in use and when it is opened."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from bench.faults.stores import alert, held, open_store, state, window
from driftprint.errors import StoreError
from driftprint.logs import configure_logging
from driftprint_edge.store import Store

BLOCK = 4096


class Refused(BaseModel):
    """What came of a disk that takes no writes.

    Attributes:
        disk: how it refuses.
        while_running: what a commit does then.
        at_the_start: where the store is then.
        read: messages that it can read all the same, of `messages`.
        messages: in the outbox before.
        kept: messages after the disk takes writes again, those that came meanwhile included.
        committed: all that were taken.
    """

    disk: str
    while_running: str
    at_the_start: str
    read: int
    messages: int
    kept: int
    committed: int


def run_refusals(folder: Path) -> tuple[list[Refused], list[str]]:
    """Disks that take no writes; and which of them cannot be had here."""
    refused, skipped = [], []
    for number, (name, disk) in enumerate(DISKS.items()):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # limits are a process's own
            try:
                refused.append(pool.apply(refuse, (name, disk, folder / f"refused-{number}")))
            except PermissionError as error:
                skipped.append(f"{name}: {error}")
    return refused, skipped


@dataclass(frozen=True, slots=True)
class Disk:
    """One that can refuse writes.

    Attributes:
        refuse: from now on it does.
        accept: from now on it does not.
    """

    refuse: Callable[[], None]
    accept: Callable[[], None]


@contextmanager
def full_tmpfs(folder: Path) -> Iterator[Disk]:
    """A small file system that is full at times. Only root can have it."""
    _mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder))
    filler = folder / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(BLOCK))
            except OSError:
                return

    try:
        yield Disk(refuse=fill, accept=filler.unlink)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def limited_files(_folder: Path) -> Iterator[Disk]:
    """Files must not grow at times, by a limit on this process."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield Disk(
            refuse=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard)),
            accept=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard)),
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[Disk]:
    """A file system that is read-only at times. Only root can have it."""
    _mount("--bind", str(folder), str(folder))
    try:
        yield Disk(
            refuse=lambda: _mount("-o", "remount,ro,bind", str(folder)),
            accept=lambda: _mount("-o", "remount,rw,bind", str(folder)),
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


DISKS: dict[str, Callable[[Path], AbstractContextManager[Disk]]] = {
    "full": full_tmpfs,
    "files must not grow": limited_files,
    "read-only": read_only,
}
"""How disks refuse writes."""


def refuse(name: str, make_disk: Callable[[Path], AbstractContextManager[Disk]], folder: Path) -> Refused:
    """A store on a disk that takes no writes while it runs, and then when it starts.

    Raises:
        PermissionError: where this user cannot have such a disk.
    """
    configure_logging("critical")
    folder.mkdir()
    with make_disk(folder) as disk:
        path = folder / "agent.db"
        store = open_store(path)
        for number in range(100):
            store.commit(state(number), window(store, "belt", number))
        outcome = (
            _while_it_runs(store, disk) if name != "read-only" else "-"
        )  # what is open for writing cannot become so
        before = set(held(store))
        shutil.copy(path, path.with_name("copy"))  # as a kill leaves them
        shutil.copy(path.with_name("agent.db-wal"), path.with_name("copy-wal"))
        store.close()
        path = path.with_name("copy")
        disk.refuse()
        store = open_store(path)
        where = "in memory" if store.volatile else "on disk"
        read = len(before & set(held(store)))
        alerts = {store.commit(state(100), alert(store, "belt", 100)).seq}
        store.settle()
        alerts.add(store.commit(state(100), alert(store, "belt", 101)).seq)
        disk.accept()
        store.settle()
        where += ", then on disk" if not store.volatile else ", and stays there"
        store.close()
        store = open_store(path)
        kept = len((before | alerts) & set(held(store)))
        store.close()
    return Refused(
        disk=name,
        while_running=outcome,
        at_the_start=where,
        read=read,
        messages=len(before),
        kept=kept,
        committed=len(before | alerts),
    )


def _while_it_runs(store: Store, disk: Disk) -> str:
    disk.refuse()
    refused = 0
    for number in range(1_000):
        try:
            store.commit(state(number), alert(store, "belt", number))
        except StoreError:
            refused += 1
            break
    disk.accept()
    store.commit(state(1_000), alert(store, "belt", 1_000))
    return "refused, later taken" if refused and not store.volatile else "?"


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0:
        raise PermissionError("it takes root")
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip())

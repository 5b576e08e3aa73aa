"""Stores whose files are damaged: a store as a kill has left it, or as it was closed, to which one thing is done. Then
it is opened, used, closed and opened again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random

from pydantic import BaseModel
from rich.progress import track

from bench.faults.stores import alert, held, open_store, state, window

STREAMS = ("belt", "chute", "dock", "gate")
MESSAGES, ALERT_EVERY = 400, 16
PAGE = 4096


class Damage(str, Enum):
    """What is done to a store's files."""

    CUT = "cut at a random length"
    FLIP = "1 to 64 random bits flipped"
    PAGE = "a page overwritten"
    ZERO = "the end zero-filled"
    LOG_GONE = "the write-ahead log deleted"
    LOG_CUT = "the write-ahead log cut"
    LOG_FLIP = "1 to 64 random bits of the write-ahead log flipped"


class Damaged(BaseModel):
    """What came of one kind of damage.

    Attributes:
        damage: which.
        cases: stores.
        opened: of those, without an error, and fit for use.
        mended: of those, made anew.
        same_instance: stores that still have their instance.
        alerts: that were committed, in all cases.
        alerts_kept: of those, still in the outbox.
        messages: likewise, alerts and windows.
        messages_kept: likewise.
        counted: rows that were counted as lost.
        altered: messages that are not what was committed; must be none.
        numbers_used_twice: stores that gave a number again; must be none.
    """

    damage: str
    cases: int = 0
    opened: int = 0
    mended: int = 0
    same_instance: int = 0
    alerts: int = 0
    alerts_kept: int = 0
    messages: int = 0
    messages_kept: int = 0
    counted: int = 0
    altered: int = 0
    numbers_used_twice: int = 0


@dataclass(frozen=True, slots=True)
class Master:
    """A store's files, and what was committed to them.

    Attributes:
        folder: holds the files.
        instance: of the store.
        committed: by number, all that was.
        waiting: the numbers of what is in the outbox.
        alerts: the numbers of alerts.
    """

    folder: Path
    instance: str
    committed: dict[int, bytes]
    waiting: set[int]
    alerts: set[int]


def run_cases(folder: Path, cases: int, seed: int) -> list[Damaged]:
    """Damage that many stores, each kind of damage in turn."""
    random = Random(seed)
    masters = [make_master(folder / name, closed=name == "closed") for name in ("killed", "closed")]
    results = {damage: Damaged(damage=damage.value) for damage in Damage}
    for number in track(range(cases), description="damaged stores"):
        damage = list(Damage)[number % len(Damage)]
        master = masters[0] if damage.name.startswith("LOG") else random.choice(masters)
        case = folder / f"case-{number}"
        shutil.copytree(master.folder, case)
        harm(case / "agent.db", damage, random)
        look_at(case / "agent.db", master, results[damage])
        shutil.rmtree(case)
    return list(results.values())


def make_master(folder: Path, *, closed: bool) -> Master:
    """Some hundred messages, a part of them acknowledged; with a write-ahead log, unless it was closed."""
    building = folder.with_name(f"{folder.name}-building")
    store = open_store(building / "agent.db")
    alerts = set()
    for number in range(MESSAGES):
        stream = STREAMS[number % len(STREAMS)]
        if number % ALERT_EVERY == 0:
            alerts.add(store.commit(state(number), alert(store, stream, number)).seq)
        else:
            store.commit(state(number), window(store, stream, number))
    committed = held(store)
    store.acknowledge([seq for seq in range(1, MESSAGES // 4) if seq not in alerts])
    waiting = set(held(store))
    if closed:
        store.close()
    shutil.copytree(building, folder)  # what a kill would leave, had it not been closed
    store.close()
    return Master(folder, store.instance, committed, waiting, alerts)


def harm(path: Path, damage: Damage, random: Random) -> None:
    """Do one kind of damage."""
    if damage.name.startswith("LOG"):
        path = path.with_name(f"{path.name}-wal")
    content = bytearray(path.read_bytes())
    if damage is Damage.LOG_GONE:
        path.unlink()
        return
    if damage in (Damage.CUT, Damage.LOG_CUT):
        del content[random.randrange(len(content)) :]
    elif damage in (Damage.FLIP, Damage.LOG_FLIP):
        for _ in range(random.randint(1, 64)):
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    elif damage is Damage.PAGE:
        start = PAGE * random.randrange(len(content) // PAGE)
        content[start : start + PAGE] = random.randbytes(PAGE)
    else:
        start = random.randrange(len(content))
        content[start:] = bytes(len(content) - start)
    path.write_bytes(content)


def look_at(path: Path, master: Master, result: Damaged) -> None:
    """Open a damaged store, use it, and count what it has kept."""
    result.cases += 1
    result.alerts += len(master.alerts)
    result.messages += len(master.waiting)
    try:
        store = open_store(path)
        found = held(store)
        new = store.commit(state(MESSAGES), alert(store, STREAMS[0], MESSAGES)).seq
        result.same_instance += store.instance == master.instance
        result.mended += store.mended_total > 0
        result.counted += store.damaged_rows_total
        store.close()
        again = open_store(path)
        whole = set(held(again)) == {*found, new} and again.mended_total == store.mended_total
        again.close()
    except Exception:
        return
    result.opened += whole
    result.alerts_kept += len(master.alerts & set(found))
    result.messages_kept += len(master.waiting & set(found))
    result.altered += sum(master.committed.get(seq) != payload for seq, payload in found.items())
    if store.instance == master.instance:
        result.numbers_used_twice += new in master.committed

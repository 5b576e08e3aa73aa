import re
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from driftprint.messages import ClassStats
from driftprint_server.history.database import Database
from driftprint_server.history.history import History
from driftprint_server.history.retention import used_bytes
from driftprint_server.history.settings import HistorySettings
from driftprint_server.sinks import Accepted
from tests.server.history.messages import numbered, of_classes, window

PAGE = Path(__file__).parents[3] / "docs" / "history.md"
WINDOWS = 40_000
STREAMS = 200


def bytes_per_window(url: URL, *, classes: int) -> float:
    """What a window takes of an SQLite file, of 200 streams that take turns."""
    found = {f"class-{i}": ClassStats(frames=10, outlier_ratio=0.0417 + i / 1000) for i in range(classes)}
    message = window(1, windows=of_classes(found))
    with closing(Database(url)) as database:
        history = History(database, HistorySettings())
        for start in range(0, WINDOWS, 1000):
            history.write(
                [
                    Accepted(numbered(message, i, device=f"pi-{i % STREAMS}"), 1.7e9 + i / 20)
                    for i in range(start, start + 1000)
                ]
            )
        with database.reading() as db:
            return used_bytes(db) / WINDOWS


@pytest.mark.parametrize("classes", [0, 10])
def test_a_window_takes_as_much_as_the_documentation_says(sqlite_url: URL, classes: int) -> None:
    (quoted,) = re.findall(rf"^\| {classes} \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert bytes_per_window(sqlite_url, classes=classes) == pytest.approx(int(quoted), rel=0.1)

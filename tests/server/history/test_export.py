import csv
import io
import json
import sys
import tracemalloc
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from sqlalchemy.engine import URL

from driftprint.messages import BundleRef, Cause
from driftprint_server.history.database import Database
from driftprint_server.history.export import export_windows
from driftprint_server.history.formats import as_csv, as_parquet
from driftprint_server.history.history import History
from driftprint_server.history.queries import Filters
from driftprint_server.history.settings import HistorySettings
from driftprint_server.sinks import Accepted
from tests.server.history.messages import numbered, window
from tests.server.history.site import Site
from tests.server.messages import OLD, alert

NOW = 1_700_000_000.25
FORMULA = "=HYPERLINK(1)"


@pytest.fixture
def told(site: Site) -> Site:
    """With three streams of ten windows, and two alerts."""
    streams = [("north", "pi-1", "belt"), ("north", "pi-2", "belt"), ("south", "pi-1", "-1")]
    for number, (place, device, stream) in enumerate(streams):
        site.history.write(
            [
                Accepted(
                    window(
                        i,
                        site=place,
                        device=device,
                        stream=stream,
                        ratio=number / 10,
                        alarm=i > 5,
                        camera_faults=(Cause.FROZEN, Cause.BLURRED) if i == 9 else (),
                        bundle=BundleRef(name=FORMULA, version=1),
                    ),
                    NOW + i,
                )
                for i in range(10)
            ]
        )
    site.history.write([Accepted(alert(50 + i, number=i, summary=f"{FORMULA} {i}"), NOW + i) for i in (1, 2)])
    return site


def frame(told: Site, folder: Path, path: str, /, **query: Any) -> pd.DataFrame:
    """What pandas reads of an export."""
    answer = told.get(f"/api/history/{path}", **query)
    assert answer.status_code == 200
    file = folder / path
    file.write_bytes(answer.content)
    return pd.read_parquet(file) if path.endswith(".parquet") else pd.read_csv(file, parse_dates=["time"])


@pytest.mark.parametrize("path", ["windows.csv", "windows.parquet"])
def test_pandas_reads_windows(told: Site, tmp_path: Path, path: str) -> None:
    table = frame(told, tmp_path, path)
    assert len(table) == 30
    assert set(table.instance) == {OLD}
    of_one = table[(table.site == "north") & (table.device == "pi-2")]
    assert list(of_one.seq) == list(range(10))
    assert list(of_one["at"]) == [NOW + i for i in range(10)]
    assert of_one.time.iloc[0] == pd.Timestamp(NOW, unit="s", tz="UTC")
    assert list(of_one.outlier_ratio) == [0.1] * 10
    assert list(of_one.alarm) == [False] * 6 + [True] * 4
    assert of_one.camera_faults.iloc[9] == "frozen blurred"
    assert json.loads(of_one.classes.iloc[0]) == {"cat": 0.1, "dog": 0.0}
    assert json.loads(of_one.class_frames.iloc[0]) == {"cat": 150, "dog": 50}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_duckdb_reads_windows_and_alerts(told: Site, tmp_path: Path, suffix: str) -> None:
    for name in ("windows", "alerts"):
        (tmp_path / name).write_bytes(told.get(f"/api/history/{name}.{suffix}").content)
    read = f"read_{suffix}"
    db = duckdb.connect()
    found = db.execute(
        f"SELECT site, device, max(outlier_ratio), count(*) FILTER (alarm), "
        f"max((json_extract(classes, '$.cat'))::DOUBLE), epoch(min(time)) FROM {read}('{tmp_path}/windows') "
        f"GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert found == [
        ("north", "pi-1", 0.0, 4, 0.0, NOW),
        ("north", "pi-2", 0.1, 4, 0.1, NOW),
        ("south", "pi-1", 0.2, 4, 0.2, NOW),
    ]
    raised = db.execute(f"SELECT alert_id, epoch(raised_time), cleared_at FROM {read}('{tmp_path}/alerts') ORDER BY 1")
    assert raised.fetchall() == [(f"{i:032x}", NOW + i, None) for i in (1, 2)]


@pytest.mark.parametrize("path", ["windows.csv", "windows.parquet"])
def test_only_what_is_asked_for_is_exported(told: Site, tmp_path: Path, path: str) -> None:
    assert len(frame(told, tmp_path, path, site="north")) == 20
    assert len(frame(told, tmp_path, path, device="pi-1", start=NOW + 2, end=NOW + 4)) == 4
    assert len(frame(told, tmp_path, path, stream="unknown")) == 0


def test_text_that_a_spreadsheet_would_compute_is_harmless_in_csv(told: Site) -> None:
    for path in ("windows.csv", "alerts.csv"):
        text = told.get(f"/api/history/{path}").text
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert f"'{FORMULA}" in cells or f"'{FORMULA} 1" in cells
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []


def test_text_is_as_it_was_sent_in_parquet(told: Site, tmp_path: Path) -> None:
    assert set(frame(told, tmp_path, "windows.parquet").bundle_name) == {FORMULA}


def test_dates_in_csv_are_iso_8601_in_utc(told: Site) -> None:
    first = next(csv.DictReader(io.StringIO(told.get("/api/history/windows.csv").text)))
    assert first["time"] == "2023-11-14T22:13:20.250000Z"
    assert float(first["at"]) == datetime(2023, 11, 14, 22, 13, 20, 250_000, timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("path", "kind"), [("windows.csv", "text/csv; charset=utf-8"), ("alerts.parquet", "application/vnd.apache.parquet")]
)
def test_an_export_is_a_file_with_a_name(told: Site, path: str, kind: str) -> None:
    headers = told.get(f"/api/history/{path}").headers
    assert headers["content-type"] == kind
    assert headers["content-disposition"] == f'attachment; filename="driftprint-{path}"'


@pytest.mark.parametrize("path", ["windows.csv", "windows.parquet", "alerts.csv", "alerts.parquet"])
def test_an_export_of_nothing_has_its_columns(site: Site, tmp_path: Path, path: str) -> None:
    answer = site.get(f"/api/history/{path}")
    file = tmp_path / path
    file.write_bytes(answer.content)
    table = pd.read_parquet(file) if path.endswith("parquet") else pd.read_csv(file)
    assert list(table.columns[:3]) == ["site", "device", "stream"]
    assert len(table) == 0


def test_without_pyarrow_parquet_is_refused_with_what_to_install(told: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = told.get("/api/history/windows.parquet")
    assert answer.status_code == 501
    assert "pip install 'driftprint[parquet]'" in answer.json()["detail"]
    assert told.get("/api/history/windows.csv").status_code == 200


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_however_much_is_exported_little_is_in_memory(sqlite_url: URL, write: Any) -> None:
    database = Database(sqlite_url)
    history = History(database, HistorySettings())
    template = window(0)
    for start in range(0, 30_000, 1000):
        history.write([Accepted(numbered(template, i), NOW + i) for i in range(start, start + 1000)])

    def most_memory(end: float) -> tuple[int, int]:
        tracemalloc.start()
        size = sum(len(chunk) for chunk in write(export_windows(database, Filters(end=end))))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size, most

    small, large = most_memory(NOW + 10_000), most_memory(NOW + 30_000)
    database.close()
    assert large[0] > 2 * small[0]
    assert large[1] < 1.5 * small[1]


@pytest.mark.parametrize("count", [4_999, 5_000, 10_001])
def test_rows_are_all_there_and_there_once_whatever_their_number(database: Database, count: int) -> None:
    history = History(database, HistorySettings())
    template = window(0)
    # Seven windows of each moment, so that some of one moment lie on either side of a page's end.
    rows = [Accepted(numbered(template, i), NOW + i // 7) for i in range(count)]
    history.write(rows)
    lines = b"".join(as_csv(export_windows(database, Filters()))).decode().splitlines()
    assert [int(row["seq"]) for row in csv.DictReader(lines)] == list(range(count))


def test_streams_are_all_there_whatever_their_number(database: Database) -> None:
    history = History(database, HistorySettings())
    history.write([Accepted(window(1, device=f"pi-{i}"), NOW) for i in range(2_001)])
    lines = b"".join(as_csv(export_windows(database, Filters()))).decode().splitlines()
    assert len({row["device"] for row in csv.DictReader(lines)}) == 2_001

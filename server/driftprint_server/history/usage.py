"""How many bytes of an SQLite file are whose: the database itself keeps count, of each row that comes or goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, inspect, text

_ROW_BYTES = 135
"""Of a row with its place in the indexes, without its texts: as a window has it in docs/history.md."""

_TABLE = """
CREATE TABLE history_usage (
    stream_id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, window_bytes INTEGER NOT NULL, alert_bytes INTEGER NOT NULL)
"""
"""By stream. The owner is its device: the number of the first of its streams."""
_INDEX = "CREATE INDEX history_usage_of_device ON history_usage (owner)"
_OWNER = "(SELECT min(id) FROM history_streams AS o WHERE o.site = {row}.site AND o.device = {row}.device)"


@dataclass(frozen=True, slots=True)
class _Counted:
    """A table whose rows are counted.

    Attributes:
        column: of history_usage.
        table: its name.
        texts: its columns that vary in size.
        stream: whose a row is, in SQL.
    """

    column: str
    table: str
    texts: tuple[str, ...]
    stream: str = "{row}.stream_id"

    def bytes(self, row: str) -> str:
        """What a row takes, in SQL."""
        return " + ".join(
            [str(_ROW_BYTES), *(f"ifnull(length(CAST({row}.{column} AS BLOB)), 0)" for column in self.texts)]
        )

    def triggers(self) -> Iterator[str]:
        """Those that keep count."""
        changes = {"INSERT": f"+ ({self.bytes('NEW')})", "DELETE": f"- ({self.bytes('OLD')})"}
        if self.texts:
            changes[f"UPDATE OF {', '.join(self.texts)}"] = f"+ ({self.bytes('NEW')}) - ({self.bytes('OLD')})"
        for event, change in changes.items():
            stream = self.stream.format(row="OLD" if event == "DELETE" else "NEW")
            yield (
                f"CREATE TRIGGER {self.table}_{event.split()[0].lower()} AFTER {event} ON {self.table} BEGIN UPDATE "
                f"history_usage SET {self.column} = {self.column} {change} WHERE stream_id = {stream}; END"
            )

    def recount(self) -> str:
        """Counts what is there already."""
        return (
            f"UPDATE history_usage SET {self.column} = {self.column} + counted.bytes FROM (SELECT "
            f"{self.stream.format(row='r')} AS stream, sum({self.bytes('r')}) AS bytes FROM {self.table} AS r "
            f"GROUP BY 1) AS counted WHERE stream_id = counted.stream"
        )


_OF_ITS_ALERT = "(SELECT a.stream_id FROM history_alerts AS a WHERE a.alert_id = {row}.alert_id)"
_COUNTED = (
    _Counted("window_bytes", "history_windows", ("classes",)),
    _Counted("alert_bytes", "history_alerts", ("layers", "classes", "summary")),
    _Counted("alert_bytes", "history_revisions", ("summary",), _OF_ITS_ALERT),
    _Counted("alert_bytes", "history_thumbnails", ("jpeg",), _OF_ITS_ALERT),
)


@dataclass(frozen=True, slots=True)
class Largest:
    """Of the device that takes most: the stream that takes most of it, by windows as long as there are any.

    Attributes:
        stream_id: its number.
        has_windows: whether it has windows, and not only alerts.
    """

    stream_id: int
    has_windows: bool


def keep_count(db: Connection) -> None:
    """Count the rows of an SQLite database from now on; where that is new, those that are there first."""
    if inspect(db).has_table("history_usage"):
        return
    newly = f"NEW.id, {_OWNER.format(row='NEW')}, 0, 0"
    for statement in (
        _TABLE,
        _INDEX,
        f"INSERT INTO history_usage SELECT s.id, {_OWNER.format(row='s')}, 0, 0 FROM history_streams AS s",
        *(counted.recount() for counted in _COUNTED),
        "CREATE TRIGGER history_streams_insert AFTER INSERT ON history_streams BEGIN "
        f"INSERT INTO history_usage SELECT {newly}; END",
        *(trigger for counted in _COUNTED for trigger in counted.triggers()),
    ):
        db.exec_driver_sql(statement)


def largest(db: Connection, *, beyond: float) -> Largest | None:
    """Who takes most of an SQLite file; None where nobody takes more than others.

    Args:
        db: of the database.
        beyond: so many times the mean of those who have anything is more than others.
    """
    # SQLite takes `owner` from the row with the maximum.
    owner, most, mean = db.exec_driver_sql(
        "SELECT owner, max(bytes), avg(bytes) FROM (SELECT owner, sum(window_bytes + alert_bytes) AS bytes "
        "FROM history_usage GROUP BY owner) WHERE bytes > 0"
    ).one()
    if owner is None or most <= beyond * mean:
        return None
    row = db.execute(_LARGEST_STREAM, {"owner": owner}).one()
    return Largest(row.stream_id, has_windows=row.window_bytes > 0)


_LARGEST_STREAM = text(
    "SELECT stream_id, window_bytes FROM history_usage WHERE owner = :owner "
    "ORDER BY window_bytes DESC, alert_bytes DESC LIMIT 1"
)

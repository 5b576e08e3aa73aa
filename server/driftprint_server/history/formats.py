"""How exported tables are written: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from driftprint.errors import MissingExtraError
from driftprint_server.history.export import Export, Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""A spreadsheet reads a cell that begins with one of these as something to compute; the last four are wide forms."""


def as_csv(export: Export) -> Iterator[bytes]:
    """The table as CSV in UTF-8, with a line of names at the top.

    An apostrophe stands before text that a spreadsheet would take for a formula. Dates are ISO 8601 in UTC.
    """
    yield _lines([list(export.columns)])
    kinds = list(export.columns.values())
    for batch in export.batches:
        yield _lines([[_cell(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in batch])


def as_parquet(export: Export) -> Iterator[bytes]:
    """The table as a Parquet file, a row group for each batch. Text is as devices sent it.

    Raises:
        MissingExtraError: at once, where pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"an export as Parquet needs the package {error.name}", extra="parquet") from None
    types = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in export.columns.items()])

    def written() -> Iterator[bytes]:
        pipe = _Pipe()
        with pq.ParquetWriter(pipe, schema, compression="zstd") as writer:
            for batch in export.batches:
                columns = [
                    pa.array([_date(value) for value in values] if kind is Kind.TIME else values, types[kind])
                    for kind, values in zip(export.columns.values(), zip(*batch, strict=True), strict=True)
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
                yield pipe.take()
        yield pipe.take()

    return written()


class _Pipe(io.RawIOBase):
    """Takes what is written, until it is fetched."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """Keep a copy."""
        chunk = bytes(memoryview(data))  # type: ignore[arg-type]  # of Arrow's own buffers
        self._chunks.append(chunk)
        self._size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        """How much has been written in all."""
        return self._size

    def take(self) -> bytes:
        """What has come since the last time."""
        taken, self._chunks = b"".join(self._chunks), []
        return taken


def _lines(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: object, kind: Kind) -> str:
    if value is None:
        return ""
    if kind is Kind.BOOLEAN:
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULAS) else value
    if kind is Kind.TIME and isinstance(value, float):
        return _iso(value)
    return repr(value)


def _iso(at: float) -> str:
    return (date.isoformat().replace("+00:00", "Z")) if (date := _date(at)) is not None else ""


def _date(at: float | None) -> datetime | None:
    return None if at is None else _EPOCH + timedelta(seconds=at)

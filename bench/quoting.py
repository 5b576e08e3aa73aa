"""Puts measured tables into the pages that quote them."""

from __future__ import annotations

from pathlib import Path


def quote(table: str, page: Path, name: str) -> None:
    """Put a table into a page, in place of the one it holds.

    Args:
        table: Markdown.
        page: has the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``.
        name: of the table.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = page.read_text().split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}{table}{end}{after}")

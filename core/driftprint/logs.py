"""Logging of the daemons: readable lines on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import structlog

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Those of syslog."""


def is_news(total: int) -> bool:
    """Whether the `total`-th event of a kind deserves a line: the first does, the thousandth is in the metrics."""
    return total in (1, 10, 100) or total % 1000 == 0


def configure_logging(level: str = "info") -> None:
    """Set up structlog once, at a daemon's start. In the journal lines have their priority.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    interactive = sys.stderr.isatty()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if interactive:
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        render = structlog.processors.JSONRenderer()
        stream = os.environ.get("JOURNAL_STREAM", "")
        to_journal = stream == stream_id(sys.stderr.fileno())
        processors += [structlog.processors.dict_tracebacks, _with_priority(render) if to_journal else render]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def stream_id(file: int) -> str:
    """How systemd names an open file in ``JOURNAL_STREAM``: by device and inode (systemd.exec(5))."""
    status = os.fstat(file)
    return f"{status.st_dev}:{status.st_ino}"


def _with_priority(render: Callable[..., str | bytes]) -> Callable[..., str]:
    """Puts a line's priority before it, as sd-daemon(3) has it: then ``journalctl --priority=err`` finds it."""

    def rendered(logger: Any, name: str, event: Any) -> str:
        priority = _PRIORITIES.get(event.get("level", ""), 6)
        return f"<{priority}>{render(logger, name, event)!s}"

    return rendered

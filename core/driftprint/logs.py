"""Logging of the daemons: readable lines on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def is_news(total: int) -> bool:
    """Whether the `total`-th event of a kind deserves a line: the first does, the thousandth is in the metrics."""
    return total in (1, 10, 100) or total % 1000 == 0


def configure_logging(level: str = "info") -> None:
    """Set up structlog once, at a daemon's start.

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
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )

"""What rollouts answer over HTTP where something cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import HTTPException

from driftprint.errors import BundleError
from driftprint_server.rollout.bundles import BundleExistsError, explain
from driftprint_server.rollout.orders import ConflictError, UnknownBundleError, UnknownRolloutError, UnusableError


@contextmanager
def answers(upload: Path | None = None) -> Iterator[None]:
    """Turns errors into answers.

    Args:
        upload: a file that somebody has sent. What is wrong with it is not the server's fault, and nobody is told where
            it lies.
    """
    try:
        yield
    except (UnknownRolloutError, UnknownBundleError) as error:
        raise HTTPException(404, str(error)) from None
    except (ConflictError, BundleExistsError) as error:
        raise HTTPException(409, str(error)) from None
    except UnusableError as error:
        raise HTTPException(422, str(error)) from None
    except BundleError as error:
        if upload is not None:
            raise HTTPException(422, explain(error, upload)) from None
        raise HTTPException(503, str(error)) from None

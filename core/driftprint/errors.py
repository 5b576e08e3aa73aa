"""The one tree of errors that driftprint raises on purpose.

Each says *what* is wrong, *where* (a file or a field) and what to do about it, on one line: commands
print that line and exit with code 2, daemons count it by its ``reason``. The class tells whether trying
again can help.
"""

from __future__ import annotations

from typing import Literal


class DriftprintError(Exception):
    """Something driftprint was given is not as it must be.

    Args:
        what: what is wrong, and what was expected.
        where: the file, field or address it was found in.
        fix: what the reader can do about it.
    """

    retryable = False
    """Whether the same call may succeed later, with nothing changed by the caller."""

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}; {self.fix}" if self.fix else line


class ConfigError(DriftprintError):
    """A configuration file or a command's argument is wrong."""


class BundleError(DriftprintError):
    """A bundle is missing, damaged, too large, or of a kind this version does not read."""


class GoldenMismatchError(BundleError):
    """A bundle's golden frames do not give the outputs or scores that it was exported with."""


SignatureReason = Literal["altered", "damaged", "foreign_key", "unsigned"]
"""Why a bundle's signature is not taken: a closed set."""


class SignatureError(BundleError):
    """A bundle that must be signed is not, or not so that its signature can be trusted.

    Args:
        what: what is wrong.
        reason: ``unsigned``; ``damaged``: the signature is cut short or none at all; ``altered``: it speaks of other
            contents; ``foreign_key``: none of the trusted keys made it.
        where: the bundle.
        fix: what the reader can do about it.
    """

    def __init__(self, what: str, *, reason: SignatureReason, where: str, fix: str) -> None:
        super().__init__(what, where=where, fix=fix)
        self.reason = reason


class ModelError(DriftprintError):
    """A model cannot be exported: its graph, inputs or outputs do not allow it."""


class DataError(DriftprintError):
    """A data set given to a command cannot be read or is not usable."""


class MissingExtraError(DriftprintError):
    """A command needs packages that the base install leaves out."""

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(what, fix=f"install them with: pip install 'driftprint[{extra}]'")
        self.extra = extra


FaultReason = Literal[
    "camera_fault",
    "dropped",
    "dtype",
    "internal",
    "model_failed",
    "not_finite",
    "shape",
    "source_lost",
    "too_large",
    "undecodable",
    "unreadable",
]
"""Why a frame could not be scored: the closed set of labels under which such frames are counted."""


class FrameError(DriftprintError):
    """A frame cannot be scored. It is a fault of the source, never an outlier.

    Args:
        what: what is wrong with the frame.
        reason: the label under which the frame is counted.
        where: the file or source it came from.
    """

    def __init__(self, what: str, *, reason: FaultReason, where: str | None = None) -> None:
        super().__init__(what, where=where)
        self.reason = reason


class SourceError(DriftprintError):
    """A source of frames cannot be opened, or was lost."""

    retryable = True


class MessageError(DriftprintError):
    """A message from the network is not one of ours, or not valid.

    Args:
        what: what is wrong with the message.
        reason: a short name from a closed set, the label under which the message is counted.
        where: the topic it came on.
    """

    def __init__(self, what: str, *, reason: str, where: str | None = None) -> None:
        super().__init__(what, where=where)
        self.reason = reason


class StoreError(DriftprintError):
    """The disk refuses what must be kept (full, read-only, damaged)."""

    retryable = True

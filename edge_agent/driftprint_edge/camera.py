"""Tells a camera that fails from a world that has changed.

Each fault is judged by cheap figures of a frame, set against the bundle's golden frames, which are inliers: where
one of these looks like a fault itself, as dark scenes do, that fault is not looked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from driftprint.alerts import AlertLife
from driftprint.clock import Instant
from driftprint.messages import Cause
from driftprint.preprocess import Frame

DARK, BRIGHT = 20, 250
"""Grey levels at and beyond which a pixel says nothing."""

MOST_OF_A_FRAME = 0.95
"""The share of such pixels at which a frame is black, or blown out."""

LEAST_CONTRAST = 0.3
"""Under which a lens is covered: in the golden frame that has the least."""

LEAST_SHARPNESS = 0.5
"""Under which a lens is out of focus: in the golden frame that has the least."""

RAISED, CLEARED = 0.5, 0.25
"""The share of frames with a fault, of late, above which it is one, and below which it is over: what a fault that
begins reaches after `CameraCheckSettings.hold_seconds`, and one that ends after twice as long. Between them lies what
a fault may miss: not every frame of a lens out of focus looks like it."""

FAINT = 10.0
"""Grey levels by which contrast is told from noise where it is dark."""

_SAMPLES = 160
"""Rows and columns that are looked at, at most."""

_BLOCKS = 8
"""Rows and columns of blocks that a frame's contrast is measured between."""

Check: TypeAlias = Literal["missing", "frozen", "black", "blown_out", "covered", "blurred"]
ALL_CHECKS: tuple[Check, ...] = get_args(Check)

_SUMMARIES: Mapping[Cause, str] = {
    Cause.MISSING: "The camera gives no frames.",
    Cause.FROZEN: "The camera gives the same frame again and again.",
    Cause.BLACK: "The camera's picture is black.",
    Cause.BLOWN_OUT: "The camera's picture is blown out: almost all of it is white.",
    Cause.COVERED: "Something covers the camera's lens: its picture is all of one shade.",
    Cause.BLURRED: "The camera is out of focus, or its lens is dirty.",
}


class CameraCheckSettings(BaseModel):
    """The table ``[stream.camera]``: which faults of the camera are looked for. While one lasts no drift is judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checks: tuple[Check, ...] | None = None
    """Without it all of them for sources of kind "camera" and "rtsp", and none for others."""
    hold_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """A fault is one that has lasted for so long, a few good frames between apart; it is over when it has been gone
    for twice as long."""
    missing_seconds: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    """Frames are missing when none has come for so long."""


@dataclass(frozen=True, slots=True)
class Look:
    """Figures of one frame.

    Attributes:
        dark: the share of pixels that are all but black.
        bright: the share of those that are all but white.
        contrast: the deviation between parts of the frame in its mean, so that poor light does not look like a cover.
        sharpness: the variance of the picture's Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield
            microscopy", ICPR 2000) in that of the picture, so that poor light does not look like poor focus.
        digest: of the pixels looked at.
    """

    dark: float
    bright: float
    contrast: float
    sharpness: float
    digest: bytes


def look(frame: Frame, model_input: NDArray[np.float32]) -> Look:
    """Look at a frame.

    Args:
        frame: uint8 [H, W] or [H, W, 3].
        model_input: float32 [1, C, H, W]: all frames at one size, so that sharpness can be compared.
    """
    rows, columns = (slice(None, None, -(-side // _SAMPLES)) for side in frame.shape[:2])
    seen = frame[rows, columns]
    grey = seen.astype(np.float32).mean(axis=2) if seen.ndim == 3 else seen.astype(np.float32)
    plane = model_input[0].mean(axis=0)
    return Look(
        dark=float((grey <= DARK).mean()),
        bright=float((grey >= BRIGHT).mean()),
        contrast=float(_blocks(grey).std() / (grey.mean() + FAINT)),
        sharpness=float(_laplacian(plane).var() / max(plane.var(), 1e-12)),
        digest=hashlib.blake2b(seen.tobytes(), digest_size=16).digest(),
    )


@dataclass(frozen=True, slots=True)
class Normal:
    """What the frames of a working camera look like.

    Attributes:
        contrast: the least.
        sharpness: the least.
        dark: the most.
        bright: the most.
    """

    contrast: float
    sharpness: float
    dark: float
    bright: float

    @staticmethod
    def of(looks: Sequence[Look]) -> Normal:
        """Learnt from some inliers."""
        return Normal(
            contrast=min(seen.contrast for seen in looks),
            sharpness=min(seen.sharpness for seen in looks),
            dark=max(seen.dark for seen in looks),
            bright=max(seen.bright for seen in looks),
        )

    def faults(self, seen: Look, before: Look | None) -> set[Cause]:
        """What is wrong with a frame by itself; of faults that look alike the plainest."""
        found = set()
        if before is not None and seen.digest == before.digest:
            found.add(Cause.FROZEN)
        if seen.dark >= MOST_OF_A_FRAME > self.dark:
            found.add(Cause.BLACK)
        elif seen.bright >= MOST_OF_A_FRAME > self.bright:
            found.add(Cause.BLOWN_OUT)
        elif seen.contrast < LEAST_CONTRAST * self.contrast:
            found.add(Cause.COVERED)
        elif seen.sharpness < LEAST_SHARPNESS * self.sharpness:
            found.add(Cause.BLURRED)
        return found


class CameraAlert(AlertLife):
    """An alert about the camera: one for each fault, from raise to clear."""

    cause: Cause

    @property
    def summary(self) -> str:
        """One sentence for a person."""
        return _SUMMARIES[self.cause] + ("" if self.active else " This is over.")


class CameraWatch:
    """Watches one stream's camera.

    Args:
        checks: the faults to look for.
        hold_seconds: see `CameraCheckSettings.hold_seconds`.
        missing_seconds: see `CameraCheckSettings.missing_seconds`.
        normal: what its frames look like; None where frames are no pictures, or nothing is known of them.
        start: the present.
        new_id: makes an alert's id.
    """

    def __init__(
        self,
        checks: Iterable[Check],
        *,
        hold_seconds: float,
        missing_seconds: float,
        normal: Normal | None,
        start: Instant,
        new_id: Callable[[], str],
    ) -> None:
        self._checks = frozenset(Cause(check) for check in checks)
        self._hold = hold_seconds
        self._missing = missing_seconds
        self._normal = normal
        self._new_id = new_id
        self._before: Look | None = None
        self._last_frame = start.monotonic
        self._shares = dict.fromkeys(self._checks, 0.0)
        """Of frames with each fault, those of late counting most."""
        self._alerts: dict[Cause, CameraAlert] = {}
        """Those that are raised."""

    @property
    def active(self) -> tuple[CameraAlert, ...]:
        """The alerts that are raised, by cause."""
        return tuple(self._alerts[cause] for cause in sorted(self._alerts))

    def load(self, alerts: Iterable[CameraAlert], now: Instant) -> list[CameraAlert]:
        """Go on with alerts from before a restart; those of faults that are no longer looked for are cleared."""
        known = list(alerts)
        self._alerts = {alert.cause: alert for alert in known if alert.cause in self._checks}
        self._shares.update(dict.fromkeys(self._alerts, 1.0))
        return [alert.cleared(now) for alert in known if alert.cause not in self._checks]

    def wants_frames(self) -> bool:
        """Whether it looks at frames at all."""
        return self._normal is not None and bool(self._checks - {Cause.MISSING})

    def frame(self, seen: Look | None, now: Instant) -> tuple[set[Cause], list[CameraAlert]]:
        """A frame has come.

        Args:
            seen: how it looks; None where it is not to be looked at.
            now: the present.

        Returns:
            What is wrong with this frame, and the alerts that it raised or cleared.
        """
        # After a pause no single frame decides.
        passed = (now.monotonic - self._last_frame) / max(self._hold, 1e-9)
        weight = 1 - 0.5 ** min(passed, 0.5)
        self._last_frame = now.monotonic
        found: set[Cause] = set()
        if seen is not None and self._normal is not None:
            found = self._normal.faults(seen, self._before) & self._checks
            self._before = seen
        for cause, share in self._shares.items():
            self._shares[cause] = share + weight * ((cause in found) - share)
        return found, self._revise(now)

    def nothing(self, now: Instant) -> list[CameraAlert]:
        """No frame has come; the alerts that are raised for it."""
        if Cause.MISSING not in self._checks or now.monotonic - self._last_frame < self._missing:
            return []
        self._shares[Cause.MISSING] = 1.0
        return self._revise(now)

    def _revise(self, now: Instant) -> list[CameraAlert]:
        revised = []
        for cause, share in sorted(self._shares.items()):
            alert = self._alerts.get(cause)
            if alert is None and share > RAISED:
                alert = CameraAlert(cause=cause, alert_id=self._new_id(), raised_at=now.wall)
                self._alerts[cause] = alert
                revised.append(alert)
            elif alert is not None and share < CLEARED:
                del self._alerts[cause]
                revised.append(alert.cleared(now))
        return revised


def _blocks(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The means of parts of the frame."""
    rows = np.array_split(grey, min(_BLOCKS, grey.shape[0]), axis=0)
    means = [[part.mean() for part in np.array_split(row, min(_BLOCKS, grey.shape[1]), axis=1)] for row in rows]
    return np.array(means, np.float32)


def _laplacian(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each inner pixel, by its four neighbours; one nought for a plane that has none."""
    if min(plane.shape) < 3:
        return np.zeros(1, np.float32)
    inner = plane[1:-1, 1:-1]
    around: NDArray[np.float32] = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]
    return 4 * inner - around

"""Keeps the most outlying frames of each alert on the device, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import structlog
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from driftprint.logs import is_news
from driftprint.messages import MOST_THUMBNAIL_BYTES, BundleRef, Thumbnail
from driftprint.preprocess import Frame
from driftprint.scorer import Scored

SUSPICION = 0.25
"""Frames are set aside from this much evidence on, so that those which raise an alert are kept too; on inliers next
to none are, and nothing is spent on encoding them."""

JPEG_QUALITY = 90

THUMBNAILS = 3
"""That an alert carries at most."""

THUMBNAIL_QUALITIES = (80, 50, 20)
"""Of which the first is taken that makes a file small enough."""


class EvidenceSettings(BaseModel):
    """The table ``[evidence]``: frames kept on the device. None leaves it unless `thumbnail_pixels` says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = None
    """A folder, made where it is missing; without it ``evidence`` beside the store."""
    frames: Annotated[int, Field(ge=0, le=1000)] = 8
    """Of each alert at most this many are kept, the most outlying; 0 keeps none."""
    max_megabytes: Annotated[float, Field(gt=0)] = 100.0
    """All streams together; beyond it the oldest go first."""
    thumbnail_pixels: Literal[0] | Annotated[int, Field(ge=32, le=320)] = 0
    """Alerts of drift carry their most outlying frames, at most 3, so small that their longer side has this many
    pixels; 0: no frame leaves the device."""


class FrameRecord(BaseModel):
    """What is written beside a frame, as JSON."""

    model_config = ConfigDict(frozen=True)

    stream: str
    alert_id: str
    frame: str
    """Its name at the source."""
    recorded_at: float
    """Unix time in seconds, by the device's clock."""
    bundle: BundleRef
    score: float
    p_value: float
    layers: dict[str, float]
    """By the fingerprinted tensor: the p-value of its distance alone, among held-out inliers."""
    predicted: str | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A frame that may be worth keeping, encoded."""

    number: int
    name: str
    wall: float
    scored: Scored
    suffix: str
    encoded: bytes


class EvidenceFolder:
    """The kept frames of all streams, on a disk that they may not fill.

    Args:
        path: the folder.
        max_bytes: of all files in it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def write(self, name: str, suffix: str, encoded: bytes, record: FrameRecord) -> None:
        """Write a frame and its record, and make room for them.

        Args:
            name: the path of both within the folder, without a suffix.
            suffix: of the frame.
            encoded: the frame.
            record: what is known of it.

        Raises:
            OSError: where the disk refuses.
        """
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + suffix).write_bytes(encoded)
        path.with_name(path.name + ".json").write_text(record.model_dump_json(indent=1) + "\n")
        self._make_room()

    def remove(self, name: str, suffix: str) -> None:
        """Remove a frame and its record."""
        for end in (suffix, ".json"):
            (self._path / f"{name}{end}").unlink(missing_ok=True)

    def _make_room(self) -> None:
        files = [(path.stat(), path) for path in self._path.rglob("*") if path.is_file()]
        excess = sum(status.st_size for status, _ in files) - self._max_bytes
        for status, path in sorted(files, key=lambda file: (file[0].st_mtime_ns, file[1])):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= status.st_size
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


class Evidence:
    """The most outlying frames of one stream's current episode: from the first suspicion to the end of the alert.

    A disk that refuses, or a frame that cannot be encoded, is counted and logged, and never stops the watch.

    Args:
        stream: its name.
        bundle: that scores its frames.
        layers: the fingerprinted tensors, in the order of the scores.
        folder: takes the frames.
        frames: how many of them at most.
        thumbnail_pixels: see `EvidenceSettings.thumbnail_pixels`.
    """

    def __init__(
        self,
        stream: str,
        *,
        bundle: BundleRef,
        layers: tuple[str, ...],
        folder: EvidenceFolder,
        frames: int,
        thumbnail_pixels: int = 0,
    ) -> None:
        self._stream = stream
        self._bundle = bundle
        self._layers = layers
        self._folder = folder
        self._most = frames
        self._thumbnail_pixels = thumbnail_pixels
        self._candidates: list[_Candidate] = []
        self._written = ""
        """The alert whose candidates are on the disk."""
        self.errors_total = 0
        self._log = structlog.get_logger().bind(stream=stream)

    def add(self, number: int, name: str, frame: Frame, scored: Scored, wall: float) -> None:
        """Set an outlier aside, if it is among the most outlying ones.

        Args:
            number: of the frame, counted over the life of the stream.
            name: its name at the source.
            frame: the frame.
            scored: what the bundle says of it.
            wall: Unix time in seconds.
        """
        if not self._most:
            return
        least = None
        if len(self._candidates) >= self._most:
            least = min(self._candidates, key=lambda kept: kept.scored.score)
            if scored.score <= least.scored.score:
                return
        with self._counted():
            self._keep(_Candidate(number, name, wall, scored, *encode(frame)), least)

    def raised(self, alert_id: str) -> None:
        """An alert is raised: what was set aside is written, and so is what is added until it clears."""
        self._written = alert_id
        for candidate in self._candidates:
            with self._counted():
                self._write(candidate)

    def thumbnails(self) -> tuple[Thumbnail, ...]:
        """What may leave the device of the frames set aside so far, the most outlying one first."""
        if not self._thumbnail_pixels:
            return ()
        pictures = [candidate for candidate in self._candidates if candidate.suffix == ".jpg"]
        pictures.sort(key=lambda candidate: -candidate.scored.score)
        return tuple(
            Thumbnail(
                frame=candidate.name[-128:],
                recorded_at=candidate.wall,
                p_value=candidate.scored.p_value,
                predicted=candidate.scored.predicted,
                jpeg=jpeg,
            )
            for candidate in pictures[:THUMBNAILS]
            if (jpeg := shrink(candidate.encoded, self._thumbnail_pixels)) is not None
        )

    def forget(self) -> None:
        """The suspicion has gone, or the alert has cleared: the next episode begins with nothing."""
        self._candidates.clear()
        self._written = ""

    def _keep(self, candidate: _Candidate, instead_of: _Candidate | None) -> None:
        self._candidates.append(candidate)
        if instead_of is not None:
            self._candidates.remove(instead_of)
        if self._written:
            self._write(candidate)
            if instead_of is not None:
                self._folder.remove(self._file(instead_of), instead_of.suffix)

    def _write(self, candidate: _Candidate) -> None:
        scored = candidate.scored
        record = FrameRecord(
            stream=self._stream,
            alert_id=self._written,
            frame=candidate.name,
            recorded_at=candidate.wall,
            bundle=self._bundle,
            score=scored.score,
            p_value=scored.p_value,
            # The graph's scores of layers are -log p.
            layers={name: float(np.exp(-value)) for name, value in zip(self._layers, scored.layers, strict=True)},
            predicted=scored.predicted,
        )
        self._folder.write(self._file(candidate), candidate.suffix, candidate.encoded, record)

    def _file(self, candidate: _Candidate) -> str:
        return f"{self._stream}/{self._written}/{candidate.number:09d}"

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.errors_total += 1
            if is_news(self.errors_total):
                self._log.warning("evidence not kept", what=str(error), total=self.errors_total)


def encode(frame: Frame) -> tuple[str, bytes]:
    """A frame as the contents of a file, with the file's suffix: JPEG for images, ``.npy`` for other tensors."""
    buffer = io.BytesIO()
    if frame.dtype == np.uint8 and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)):
        Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return ".jpg", buffer.getvalue()
    np.save(buffer, frame, allow_pickle=False)
    return ".npy", buffer.getvalue()


def shrink(jpeg: bytes, pixels: int) -> bytes | None:
    """A JPEG file whose longer side has at most so many pixels; None where no quality makes it fit into a message."""
    with Image.open(io.BytesIO(jpeg)) as image:
        image.thumbnail((pixels, pixels))
        for quality in THUMBNAIL_QUALITIES:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= MOST_THUMBNAIL_BYTES:
                return buffer.getvalue()
    return None

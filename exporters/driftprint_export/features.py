"""Runs inliers through the model and keeps what the fingerprint needs of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from driftprint.errors import DataError, FrameError, ModelError
from driftprint.frames import FrameRef, FrameSet
from driftprint.preprocess import Frame, Preprocessor
from driftprint_export.builder import GraphBuilder
from driftprint_export.layers import Layer
from driftprint_export.source import SourceModel, make_session
from driftprint_export.taps import add_taps

T = TypeVar("T")
Track = Callable[[Iterable[T], str, int], Iterable[T]]
"""Passes an iterable on while showing its progress: what, why, how many."""

BATCH = 32


@dataclass(frozen=True)
class Collected:
    """What the model makes of a set of frames.

    Attributes:
        refs: the frames that could be read, N of them.
        digests: sha256 of each frame's contents.
        keys: the group of each frame, or its digest where groups are unknown.
        features: for each layer float32 [N, C].
        vectors: the model's own outputs of shape [N, K], K of 2 and more.
        faults: frames that could not be read, by reason.
    """

    refs: list[FrameRef]
    digests: list[str]
    keys: list[str]
    features: list[NDArray[np.float32]]
    vectors: dict[str, NDArray[Any]]
    faults: dict[str, int]

    @property
    def digest(self) -> str:
        """Of the whole set: sha256 over the frames' own, in order."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()


def collect(
    source: SourceModel,
    layers: Sequence[Layer],
    preprocess: Preprocessor,
    frames: FrameSet,
    *,
    where: str,
    track: Track[list[int]],
    most: int,
) -> Collected:
    """Run frames through the model.

    Args:
        source: the model.
        layers: what to keep of it.
        preprocess: makes the model's input of a frame.
        frames: the frames.
        where: what to call them in errors.
        track: shows the progress.
        most: of more frames than this, evenly spread ones are taken.

    Raises:
        DataError: where most frames cannot be read.
        ModelError: where the model fails on one.
    """
    runner = _Runner(source, layers)
    indices = _spread(len(frames), most)
    batches = [indices[i : i + BATCH] for i in range(0, len(indices), BATCH)]
    refs: list[FrameRef] = []
    digests: list[str] = []
    keys: list[str] = []
    faults: Counter[str] = Counter()
    first_fault = ""
    for batch in track(batches, "reading the inliers", len(batches)):
        inputs = []
        for index in batch:
            ref = frames[index]
            try:
                frame = ref.load()
                inputs.append(preprocess(frame))
            except FrameError as error:
                faults[error.reason] += 1
                first_fault = first_fault or f"{ref.name}: {error.what}"
                continue
            digest = frame_digest(frame)
            refs.append(ref)
            digests.append(digest)
            keys.append(digest if frames.groups is None else frames.groups[index])
        runner.run(inputs)
    if 2 * faults.total() > len(indices):
        raise DataError(f"{faults.total()} of {len(indices)} frames cannot be used ({first_fault})", where=where)
    return Collected(refs, digests, keys, runner.features(), runner.vectors(), dict(faults))


def frame_digest(frame: Frame) -> str:
    """The sha256 of a frame's dtype, shape and contents, in hexadecimal."""
    head = f"{frame.dtype.str}{list(frame.shape)}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(frame).tobytes()).hexdigest()


def _spread(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, most)]


class _Runner:
    """Runs the tapped model on as many frames at once as it takes."""

    def __init__(self, source: SourceModel, layers: Sequence[Layer]) -> None:
        graph = GraphBuilder(source.proto)
        self._taps = [f"driftprint_tap_{i}" for i in range(len(layers))]
        for name, tap, layer in zip(self._taps, add_taps(graph, layers), layers, strict=True):
            graph.output(tap, name, ["N", layer.channels])
        self._session = make_session(graph.model, where=source.name)
        self._source = source
        self._vectors = [
            output.name
            for output in self._session.get_outputs()
            if output.name in source.outputs and output.type in ("tensor(float)", "tensor(float16)", "tensor(double)")
        ]
        self._batched = source.input.batched
        self._kept: dict[str, list[NDArray[Any]]] = {name: [] for name in (*self._taps, *self._vectors)}

    def run(self, inputs: Sequence[NDArray[Any]]) -> None:
        """Run inputs with a batch axis of 1 each, and keep the results."""
        if self._batched and len(inputs) > 1:
            try:
                self._keep(self._call(np.concatenate(inputs)), len(inputs))
                return
            except ModelError:  # free by its declaration, fixed by a reshape inside
                self._batched = False
        for one in inputs:
            self._keep(self._call(one), 1)

    def features(self) -> list[NDArray[np.float32]]:
        """For each layer float32 [N, C]."""
        return [np.concatenate(self._kept[name]).astype(np.float32) for name in self._taps]

    def vectors(self) -> dict[str, NDArray[Any]]:
        """The model's own outputs that are one vector a frame."""
        return {name: np.concatenate(self._kept[name]) for name in self._vectors}

    def _call(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            values: list[NDArray[Any]] = self._session.run(list(self._kept), {self._source.input.name: batch})
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise ModelError(f"fails on a frame ({str(error).splitlines()[0]})", where=self._source.name) from None
        if any(len(value) != len(batch) for value in values[: len(self._taps)]):
            raise ModelError("gives another number of results than frames", where=self._source.name)
        return values

    def _keep(self, values: list[NDArray[Any]], count: int) -> None:
        for name, value in zip(list(self._kept), values, strict=True):
            if name in self._taps or (value.ndim == 2 and value.shape[0] == count and value.shape[1] > 1):
                self._kept[name].append(value)
            else:
                self._vectors.remove(name)
                del self._kept[name]

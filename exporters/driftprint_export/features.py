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
from driftprint_export.methods import Responses
from driftprint_export.source import SourceModel, make_session
from driftprint_export.taps import add_taps

T = TypeVar("T")
Track = Callable[[Iterable[T], str, int], Iterable[T]]
"""Passes an iterable on while showing its progress: what, why, how many."""

BATCH = 32


@dataclass(frozen=True)
class Kept:
    """What the model makes of N frames.

    Attributes:
        features: for each layer float32 [N, C], pooled.
        moments: the layers' squares, pooled likewise; None where nobody asked for them.
        vectors: the model's own outputs of shape [N, K], K of 2 and more.
    """

    features: list[NDArray[np.float32]]
    moments: list[NDArray[np.float32]] | None
    vectors: dict[str, NDArray[Any]]

    def rows(self, rows: Sequence[int]) -> Kept:
        """Those of some frames."""
        chosen = list(rows)
        return Kept(
            [layer[chosen] for layer in self.features],
            None if self.moments is None else [layer[chosen] for layer in self.moments],
            {name: values[chosen] for name, values in self.vectors.items()},
        )

    def responses(self, logits: str | None) -> Responses:
        """As the methods take them.

        Args:
            logits: which of the outputs is the logits; None for a model without classes.
        """
        return Responses(
            self.features,
            None if logits is None else self.vectors[logits].astype(np.float32, copy=False),
            self.moments,
        )


@dataclass(frozen=True)
class Collected:
    """What the model makes of a set of frames.

    Attributes:
        refs: the frames that could be read, N of them.
        digests: sha256 of each frame's contents.
        keys: the group of each frame, or its digest where groups are unknown.
        kept: what the model makes of them.
        faults: frames that could not be read, by reason.
    """

    refs: list[FrameRef]
    digests: list[str]
    keys: list[str]
    kept: Kept
    faults: dict[str, int]

    @property
    def grouped(self) -> bool:
        """Whether the frames' groups are known."""
        return any(key != digest for key, digest in zip(self.keys, self.digests, strict=True))

    def rows(self, rows: Sequence[int]) -> Collected:
        """Those of some frames."""
        return Collected(
            [self.refs[i] for i in rows],
            [self.digests[i] for i in rows],
            [self.keys[i] for i in rows],
            self.kept.rows(rows),
            {},
        )

    @property
    def digest(self) -> str:
        """Of the whole set: sha256 over the frames' own, in order."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()


def collect(
    runner: Runner,
    preprocess: Preprocessor,
    frames: FrameSet,
    *,
    where: str,
    track: Track[list[int]],
    most: int,
) -> Collected:
    """Run frames through the model.

    Args:
        runner: runs the model.
        preprocess: makes the model's input of a frame.
        frames: the frames.
        where: what to call them in errors.
        track: shows the progress.
        most: of more frames than this, evenly spread ones are taken.

    Raises:
        DataError: where most frames cannot be read.
        ModelError: where the model fails on one.
    """
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
    return Collected(refs, digests, keys, runner.take(), dict(faults))


def frame_digest(frame: Frame) -> str:
    """The sha256 of a frame's dtype, shape and contents, in hexadecimal."""
    head = f"{frame.dtype.str}{list(frame.shape)}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(frame).tobytes()).hexdigest()


def _spread(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, most)]


class Runner:
    """Runs the tapped model on as many frames at once as it takes.

    Args:
        source: the model.
        layers: what to keep of it.
        moments: whether to keep the layers' squares too.
    """

    batch = BATCH
    """How many inputs to run at once."""

    def __init__(self, source: SourceModel, layers: Sequence[Layer], *, moments: bool = False) -> None:
        graph = GraphBuilder(source.proto)
        taps = add_taps(graph, layers, moments=moments)
        self._features = _outputs(graph, layers, taps.features, "features")
        self._moments = None if taps.moments is None else _outputs(graph, layers, taps.moments, "moments")
        self._taps = [*self._features, *(self._moments or ())]
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
        """Run inputs with a batch axis of 1 each, and keep the results.

        Raises:
            ModelError: where the model fails on one.
        """
        if self._batched and len(inputs) > 1:
            try:
                self._keep(self._call(np.concatenate(inputs)), len(inputs))
                return
            except ModelError:  # free by its declaration, fixed by a reshape inside
                self._batched = False
        for one in inputs:
            self._keep(self._call(one), 1)

    def take(self) -> Kept:
        """All that was kept since the last time."""
        kept = {name: np.concatenate(values) for name, values in self._kept.items()}
        self._kept = {name: [] for name in self._kept}
        return Kept(
            [kept[name] for name in self._features],
            None if self._moments is None else [kept[name] for name in self._moments],
            {name: kept[name] for name in self._vectors},
        )

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


def _outputs(graph: GraphBuilder, layers: Sequence[Layer], tensors: Sequence[str], name: str) -> list[str]:
    """Make tensors outputs of the graph; returns their new names."""
    names = [f"driftprint_{name}_{i}" for i in range(len(layers))]
    for tensor, new, layer in zip(tensors, names, layers, strict=True):
        graph.output(tensor, new, ["N", layer.channels])
    return names

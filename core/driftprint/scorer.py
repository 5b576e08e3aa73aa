"""Runs a bundle on a frame: model and fingerprint in one onnxruntime session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from driftprint.bundle import MODEL, Bundle, sample
from driftprint.errors import BundleError, ConfigError, FrameError, GoldenMismatchError
from driftprint.manifest import LAYERS_OUTPUT, SCORE_OUTPUT
from driftprint.preprocess import Frame, make_preprocessor
from driftprint.stats.conformal import Calibration

CPU = ("CPUExecutionProvider",)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a bundle says of one frame.

    Attributes:
        score: outlier score, higher is more outlying.
        p_value: share of the calibration set that scores at least as high, in (0, 1].
        layers: float32 [L], the score of each fingerprinted layer.
        predicted: the predicted class by its label; None for a model without classes.
        outputs: the model's own outputs by name, with a batch axis of 1.
    """

    score: float
    p_value: float
    layers: NDArray[np.float32]
    predicted: str | None
    outputs: Mapping[str, NDArray[Any]]


class Scorer:
    """Scores single frames with a bundle. Keeps no state from frame to frame.

    Args:
        bundle: as `driftprint.bundle.read_bundle` gives it.
        threads: how many threads one inference may use.
        providers: onnxruntime execution providers, in order of preference; those that are not here are passed over.
        memory_arena: keep memory between frames, as onnxruntime calls it; without, each frame asks for it anew.
        verify: replay the golden frames first.

    Raises:
        GoldenMismatchError: where the golden frames do not give what the exporter saw: another preprocessing,
            runtime or processor than the bundle was made for.
        ConfigError: where none of the providers is here, or one is of an unknown name.
        BundleError: where onnxruntime cannot load the model, or its inputs and outputs are not the manifest's.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        providers: Sequence[str] = CPU,
        memory_arena: bool = True,
        verify: bool = True,
    ) -> None:
        self.manifest = bundle.manifest
        self.golden_frames = bundle.golden.frames
        """Inliers, before preprocessing."""
        self.calibration = Calibration(bundle.manifest.calibration.scores)
        self._preprocess = make_preprocessor(bundle.manifest.input)
        self._session = _load_session(bundle, threads, providers, memory_arena)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._check_names()
        self._score_at = self._outputs.index(SCORE_OUTPUT)
        self._layers_at = self._outputs.index(LAYERS_OUTPUT)
        self._per_frame = [self._outputs.index(name) for name in self._wanted()]
        if verify:
            self._replay(bundle)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that onnxruntime really uses, in order."""
        return tuple(self._session.get_providers())

    def score(self, frame: Frame) -> Scored:
        """Score one frame.

        Args:
            frame: uint8 [H, W] or [H, W, 3] RGB for image models, or a tensor of the manifest's shape.

        Raises:
            FrameError: where the frame is of the wrong kind, or the model breaks on it.
        """
        return self.score_prepared(self.prepare(frame))

    def prepare(self, frame: Frame) -> NDArray[Any]:
        """The model's input for one frame, with a batch axis of 1.

        Raises:
            FrameError: where the frame is of the wrong kind.
        """
        return self._preprocess(frame)

    def score_prepared(self, batch: NDArray[Any]) -> Scored:
        """Score what `prepare` has made of a frame.

        Raises:
            FrameError: where the model breaks on it.
        """
        try:
            values = self._session.run(None, {self.manifest.input.name: batch})
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise FrameError(f"the model fails on it ({_first_line(error)})", reason="model_failed") from None
        for i in self._per_frame:
            if values[i].shape[:1] != (1,):
                raise FrameError(
                    f"the model's {self._outputs[i]} has shape {list(values[i].shape)} for one frame",
                    reason="model_failed",
                )
        score = float(values[self._score_at][0])
        if not np.isfinite(score):
            raise FrameError("the model's layers are not finite", reason="not_finite")
        outputs = {
            name: value
            for i, (name, value) in enumerate(zip(self._outputs, values, strict=True))
            if i not in (self._score_at, self._layers_at)
        }
        logits = self.manifest.logits_output
        return Scored(
            score=score,
            p_value=self.calibration.p_value(score),
            layers=values[self._layers_at][0],
            predicted=None if logits is None else self.manifest.label(int(outputs[logits][0].argmax())),
            outputs=outputs,
        )

    def _wanted(self) -> set[str]:
        """The outputs that the graph must have, with a batch axis."""
        logits = self.manifest.logits_output
        return {SCORE_OUTPUT, LAYERS_OUTPUT} | (set() if logits is None else {logits})

    def _check_names(self) -> None:
        wanted = self._wanted()
        inputs = [graph_input.name for graph_input in self._session.get_inputs()]
        if missing := sorted(wanted - set(self._outputs)):
            raise BundleError(f"the graph has no output {missing[0]!r}", where=MODEL)
        if inputs != [self.manifest.input.name]:
            raise BundleError(
                f"the graph's inputs are {inputs}, the manifest has {self.manifest.input.name!r}", where=MODEL
            )

    def _replay(self, bundle: Bundle) -> None:
        golden, tolerance = bundle.golden, bundle.manifest.tolerance
        for i, frame in enumerate(golden.frames):
            try:
                seen = self.score(frame)
            except FrameError as error:
                raise GoldenMismatchError(
                    f"golden frame {i} cannot be scored: {error}", where=self.manifest.id
                ) from None
            difference = abs(seen.score - float(golden.scores[i]))
            if not difference <= tolerance.score:
                raise GoldenMismatchError(
                    f"golden frame {i} scores {seen.score:.6g}, the exporter saw {golden.scores[i]:.6g} "
                    f"(tolerance {tolerance.score:.2g})",
                    where=self.manifest.id,
                    fix="preprocessing, onnxruntime or its execution provider differ from the exporter's",
                )
            for name, expected in golden.outputs.items():
                got = sample(seen.outputs[name]) if name in seen.outputs else np.empty(0)
                scale = max(1e-6, float(np.abs(expected[i]).max(initial=0.0)))
                if got.shape != expected[i].shape or not np.allclose(
                    got, expected[i], rtol=0.0, atol=tolerance.output * scale, equal_nan=True
                ):
                    raise GoldenMismatchError(
                        f"golden frame {i} gives another output {name!r} than the exporter saw",
                        where=self.manifest.id,
                        fix="preprocessing, onnxruntime or its execution provider differ from the exporter's",
                    )


def _load_session(
    bundle: Bundle, threads: int, providers: Sequence[str], memory_arena: bool
) -> onnxruntime.InferenceSession:
    chosen = _choose(providers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = memory_arena
    options.log_severity_level = 3
    # Idle threads would spin for the next frame, which on a device costs other programs their time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(bundle.model, options, providers=chosen)
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise BundleError(f"onnxruntime cannot load it ({_first_line(error)})", where=MODEL) from None


def _choose(providers: Sequence[str]) -> list[str]:
    """Those that this machine has, in order."""
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in onnxruntime.get_all_providers():
            raise ConfigError(
                f"no execution provider {provider!r} is known", where="providers", fix=f"here there are {available}"
            )
    chosen = [provider for provider in providers if provider in available]
    if not chosen:
        raise ConfigError(f"none of {list(providers)} is here", where="providers", fix=f"there are {available}")
    return chosen


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

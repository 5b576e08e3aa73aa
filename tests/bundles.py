"""A hand-made bundle whose scores can be told in one's head: a frame's score is its mean brightness."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from driftprint.bundle import GOLDEN_FRAMES, Golden, write_bundle
from driftprint.manifest import (
    LAYERS_OUTPUT,
    SCORE_OUTPUT,
    CalibrationSet,
    Colour,
    Fingerprint,
    ImageInput,
    Manifest,
    ModelInput,
    Provenance,
    TensorInput,
    Tolerance,
)
from driftprint.preprocess import Frame, make_preprocessor

SIDE = 8
INLIERS = (0.2, 0.6)
"""Inliers' brightness is spread evenly from the first to the second; all beyond the second are outliers."""
CLASSES = ("dark", "dim", "light", "bright")
"""Each takes an equal share of the brightness from 0 to 1."""


def make_bundle(
    path: Path,
    *,
    name: str = "toy",
    version: int = 1,
    calibration: Sequence[float] | None = None,
    classes: Sequence[str] | None = CLASSES,
    tensor_shape: tuple[int, ...] | None = None,
    golden_shift: float = 0.0,
    zipped: bool = False,
) -> Path:
    """Write a small valid bundle.

    The score is the mean of the input: of an image the brightness from 0 to 1. The two layers' scores are the
    mean and the maximum. The predicted class is the one of `classes` in whose share of 0 to 1 the mean lies.

    Args:
        path: the folder or zip file to write.
        name: the bundle's name.
        version: its version.
        calibration: its calibration scores; None for 1,000 spread evenly over `INLIERS`.
        classes: the labels of the output ``logits``; None for a model without classes, whose output is ``mean``.
        tensor_shape: a raw float32 tensor of this shape as input, in place of a grey image of 8 x 8 pixels.
        golden_shift: added to the golden scores: anything but 0 makes a bundle that must be refused.
        zipped: one zip file in place of a folder.

    Returns:
        `path`.
    """
    spec = _input(tensor_shape)
    model = make_model(classes=classes, tensor_shape=tensor_shape)
    frames = [make_frame(brightness, tensor_shape) for brightness in np.linspace(*INLIERS, GOLDEN_FRAMES)]
    scores = sorted(np.linspace(*INLIERS, 1000).tolist() if calibration is None else calibration)
    manifest = Manifest(
        name=name,
        version=version,
        description="mean brightness",
        labels=tuple(classes or ()),
        logits_output="logits" if classes else None,
        input=spec,
        fingerprint=Fingerprint(method="mean", layers=("mean", "max"), class_conditional=False, fitted_on=1),
        calibration=CalibrationSet(scores=tuple(scores)),
        tolerance=Tolerance(score=1e-4, output=1e-3),
        training_data_sha256=hashlib.sha256(b"none").hexdigest(),
        files={},
        provenance=Provenance(driftprint="0"),
    )
    write_bundle(path, manifest, model, _golden(model, spec, frames, golden_shift), zipped=zipped)
    return path


def make_frame(brightness: float, tensor_shape: tuple[int, ...] | None = None) -> Frame:
    """A frame that scores `brightness`, to 1/16320 for an image and exactly for a tensor.

    Args:
        brightness: 0 to 1.
        tensor_shape: for a bundle made with it.
    """
    if tensor_shape is not None:
        return np.full(tensor_shape, brightness, np.float32)
    level, brighter = divmod(round(brightness * 255 * SIDE * SIDE), SIDE * SIDE)
    pixels = np.full(SIDE * SIDE, level, np.uint8)
    pixels[:brighter] += 1
    return pixels.reshape(SIDE, SIDE)


def inlier_frames(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images like those that `make_bundle` calibrates on, in random order: uint8 [count, 8, 8]."""
    brightness = np.random.default_rng(seed).uniform(*INLIERS, count)
    return np.stack([make_frame(float(value)) for value in brightness])


def outlier_frames(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images brighter than any that `make_bundle` calibrates on: uint8 [count, 8, 8]."""
    brightness = np.random.default_rng(seed).uniform(INLIERS[1] + 0.1, 1.0, count)
    return np.stack([make_frame(float(value)) for value in brightness])


def make_model(
    *, classes: Sequence[str] | None = CLASSES, tensor_shape: tuple[int, ...] | None = None, external: bool = False
) -> bytes:
    """The model of `make_bundle`, serialised.

    Args:
        classes: as there.
        tensor_shape: as there.
        external: let it claim that the numbers of one tensor lie in another file.
    """
    shape = (1, SIDE, SIDE) if tensor_shape is None else tensor_shape
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"], axis=1),
        helper.make_node("ReduceMean", ["flat"], [SCORE_OUTPUT], axes=[1], keepdims=0),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("ReduceMax", ["flat"], ["max"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "max"], [LAYERS_OUTPUT], axis=1),
    ]
    constants = []
    own = helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["N", 1])
    if classes:
        # The nearest of the shares' centres has the largest logit.
        centres = (np.arange(len(classes), dtype=np.float32) + 0.5) / len(classes)
        constants.append(helper.make_tensor("centres", TensorProto.FLOAT, [1, len(classes)], centres.tolist()))
        nodes += [
            helper.make_node("Sub", ["mean", "centres"], ["to_centre"]),
            helper.make_node("Abs", ["to_centre"], ["distance"]),
            helper.make_node("Neg", ["distance"], ["logits"]),
        ]
        own = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(classes)])
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *shape])],
        [
            own,
            helper.make_tensor_value_info(SCORE_OUTPUT, TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info(LAYERS_OUTPUT, TensorProto.FLOAT, ["N", 2]),
        ],
        constants,
    )
    # Old enough versions for every onnxruntime that the base install allows.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    if external:
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    return bytes(model.SerializeToString())


def _input(tensor_shape: tuple[int, ...] | None) -> ModelInput:
    if tensor_shape is not None:
        return TensorInput(name="input", shape=tensor_shape)
    return ImageInput(name="input", height=SIDE, width=SIDE, colour=Colour.GREY)


def _golden(model: bytes, spec: ModelInput, frames: Sequence[Frame], shift: float) -> Golden:
    preprocess = make_preprocessor(spec)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    batch = np.concatenate([preprocess(frame) for frame in frames])
    values = dict(zip(names, session.run(names, {spec.name: batch}), strict=True))
    scores, layers = values.pop(SCORE_OUTPUT), values.pop(LAYERS_OUTPUT)
    outputs = {name: value.astype(np.float64) for name, value in values.items()}
    return Golden(tuple(frames), scores + np.float32(shift), layers, outputs)

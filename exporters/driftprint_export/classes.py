"""Tells whether a model predicts classes, and from which output."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftprint.errors import ConfigError
from driftprint_export.source import SourceModel

_CLASSES = re.compile(r"logit|prob|class|label|softmax|pred", re.IGNORECASE)
_NO_CLASSES = re.compile(r"embed|feat|vector|box|mask|depth|pose|landmark|point", re.IGNORECASE)
_CONFIDENT = 0.5


class Task(str, Enum):
    """What a model's output means."""

    AUTO = "auto"
    """Told from the graph and from what it says of the inliers."""
    CLASSIFIER = "classifier"
    NONE = "none"
    """No classes: a detector, segmenter, embedder or regressor."""


def class_output(
    source: SourceModel, task: Task, outputs: dict[str, NDArray[Any]], labels: tuple[str, ...]
) -> str | None:
    """The output whose largest entry is the predicted class; None for a model without classes.

    Left to itself it believes labels, a final softmax and telling names; else an output is taken for logits
    when it is the model's only one and tells confidently of several classes.

    Args:
        source: the model.
        task: what the user says it is.
        outputs: the model's outputs that have the shape [N, K] with K of 2 and more, for some inliers.
        labels: the class names the user gave.

    Raises:
        ConfigError: where the user's word and the model disagree.
    """
    if task is Task.NONE:
        if labels:
            raise ConfigError("labels are for models that predict classes", where="--labels")
        return None
    fitting = {name: value for name, value in outputs.items() if not labels or value.shape[1] == len(labels)}
    if task is Task.CLASSIFIER or labels:
        if not fitting:
            seen = ", ".join(f"{name} {list(value.shape[1:])}" for name, value in outputs.items()) or "none"
            wanted = f"[N, {len(labels)}]" if labels else "[N, K]"
            raise ConfigError(
                f"no output of shape {wanted} to take the classes from (vectors among the outputs: {seen})",
                where="--labels" if labels else "--task",
            )
        return next((name for name in fitting if _CLASSES.search(name)), next(iter(fitting)))
    producers = {name: node.op_type for node in source.proto.graph.node for name in node.output}
    for name in fitting:
        if producers.get(name) in ("Softmax", "LogSoftmax") or (_CLASSES.search(name) and not _NO_CLASSES.search(name)):
            return name
    if len(source.outputs) == 1 and fitting:
        (name, value) = next(iter(fitting.items()))
        if not _NO_CLASSES.search(name) and _looks_like_logits(value):
            return name
    return None


def _looks_like_logits(values: NDArray[Any]) -> bool:
    shifted = values.astype(np.float64) - values.max(axis=1, keepdims=True)
    confidence = 1 / np.exp(shifted).sum(axis=1)
    return bool(np.median(confidence) >= _CONFIDENT and len(np.unique(values.argmax(axis=1))) > 1)

"""Which output is taken for the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from driftprint.errors import ConfigError
from driftprint_export.classes import Task, class_output
from driftprint_export.source import SourceModel, prepare

CONFIDENT = np.tile(np.eye(4), (5, 1)) * 9
VAGUE = np.random.default_rng(0).normal(0, 0.1, (20, 4))


def model(*outputs: str, op: str = "Identity") -> SourceModel:
    """A model whose outputs are its input, or what `op` makes of it."""
    nodes = [helper.make_node(op, ["x"], [name]) for name in outputs]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", *outputs)]
    graph = helper.make_graph(nodes, "model", values[:1], values[1:])
    return prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "model", {})


def seen(*outputs: str, values: NDArray[Any] = VAGUE) -> dict[str, NDArray[Any]]:
    return dict.fromkeys(outputs, values)


@pytest.mark.parametrize("name", ["logits", "class_scores", "probabilities", "Prediction"])
def test_a_telling_name_is_believed(name: str) -> None:
    assert class_output(model(name, "other"), Task.AUTO, seen(name, "other"), ()) == name


def test_a_softmax_at_the_end_is_believed() -> None:
    assert class_output(model("y", op="Softmax"), Task.AUTO, seen("y"), ()) == "y"


def test_the_only_output_is_believed_where_it_is_confident_of_several_classes() -> None:
    assert class_output(model("y"), Task.AUTO, seen("y", values=CONFIDENT), ()) == "y"


@pytest.mark.parametrize("values", [VAGUE, np.tile([9.0, 0, 0, 0], (20, 1))], ids=["vague", "always one"])
def test_the_only_output_is_not_believed_otherwise(values: NDArray[Any]) -> None:
    assert class_output(model("y"), Task.AUTO, seen("y", values=values), ()) is None


@pytest.mark.parametrize("name", ["embedding", "features", "boxes", "keypoints"])
def test_an_embedder_has_no_classes_however_confident(name: str) -> None:
    assert class_output(model(name), Task.AUTO, seen(name, values=CONFIDENT), ()) is None


def test_one_of_several_unnamed_outputs_is_not_guessed() -> None:
    assert class_output(model("a", "b"), Task.AUTO, seen("a", "b", values=CONFIDENT), ()) is None


def test_the_users_word_wins() -> None:
    assert class_output(model("logits"), Task.NONE, seen("logits", values=CONFIDENT), ()) is None
    assert class_output(model("embedding"), Task.CLASSIFIER, seen("embedding"), ()) == "embedding"


def test_labels_choose_the_output_of_their_number() -> None:
    outputs = {"a": VAGUE, "b": VAGUE[:, :2]}
    assert class_output(model("a", "b"), Task.AUTO, outputs, ("yes", "no")) == "b"


def test_labels_that_fit_no_output_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no output of shape \[N, 3\].*y \[4\]"):
        class_output(model("y"), Task.AUTO, seen("y"), ("a", "b", "c"))


def test_labels_without_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="labels are for models that predict classes"):
        class_output(model("y"), Task.NONE, seen("y"), ("a", "b", "c", "d"))


def test_a_classifier_without_vectors_is_refused() -> None:
    with pytest.raises(ConfigError, match="vectors among the outputs: none"):
        class_output(model("y"), Task.CLASSIFIER, {}, ())

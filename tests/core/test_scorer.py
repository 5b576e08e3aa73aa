import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.bundle import Bundle, read_bundle
from driftprint.errors import BundleError, ConfigError, FrameError, GoldenMismatchError
from driftprint.scorer import Scorer
from tests.bundles import CLASSES, make_bundle, make_frame


@pytest.fixture(scope="module")
def bundle(intact_toy: Path) -> Bundle:
    return read_bundle(intact_toy)


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle)


def with_manifest(bundle: Bundle, **changes: Any) -> Bundle:
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


def with_golden(bundle: Bundle, **changes: Any) -> Bundle:
    return dataclasses.replace(bundle, golden=dataclasses.replace(bundle.golden, **changes))


def with_model(bundle: Bundle, edit: Callable[[onnx.GraphProto], object]) -> Bundle:
    model = onnx.load_model_from_string(bundle.model)
    edit(model.graph)
    return dataclasses.replace(bundle, model=model.SerializeToString())


@given(brightness=st.floats(0, 1))
def test_a_frame_is_scored(scorer: Scorer, brightness: float) -> None:
    frame = make_frame(brightness)
    scored = scorer.score(frame)

    assert scored.score == pytest.approx(frame.mean() / 255, abs=1e-6)
    assert scored.layers == pytest.approx([frame.mean() / 255, frame.max() / 255], abs=1e-6)
    calibration = scorer.manifest.calibration.scores
    assert scored.p_value == (1 + sum(other >= scored.score for other in calibration)) / (len(calibration) + 1)
    assert list(scored.outputs) == ["logits"]
    assert scored.outputs["logits"].shape == (1, len(CLASSES))


@pytest.mark.parametrize(("brightness", "label"), [(0.1, "dark"), (0.3, "dim"), (0.6, "light"), (0.9, "bright")])
def test_the_predicted_class_is_called_by_its_label(scorer: Scorer, brightness: float, label: str) -> None:
    assert scorer.score(make_frame(brightness)).predicted == label


def test_a_model_without_classes_predicts_none(tmp_path: Path) -> None:
    scored = Scorer(read_bundle(make_bundle(tmp_path / "b", classes=None))).score(make_frame(0.5))

    assert scored.predicted is None
    assert scored.outputs["mean"] == pytest.approx(0.5, abs=1e-3)


def test_raw_tensors_are_scored(tmp_path: Path) -> None:
    scorer = Scorer(read_bundle(make_bundle(tmp_path / "b", tensor_shape=(3, 5))))

    assert scorer.score(np.full((3, 5), 7.0, np.float32)).score == 7.0


def test_scores_do_not_depend_on_the_frames_before(scorer: Scorer) -> None:
    alone = scorer.score(make_frame(0.4)).score
    scorer.score(make_frame(1.0))

    assert scorer.score(make_frame(0.4)).score == alone


@pytest.mark.parametrize(
    ("frame", "reason"),
    [(np.zeros((8, 8), np.float32), "dtype"), (np.zeros((8, 8, 4), np.uint8), "shape")],
)
def test_a_wrong_frame_is_a_fault(scorer: Scorer, frame: Any, reason: str) -> None:
    with pytest.raises(FrameError) as error:
        scorer.score(frame)
    assert error.value.reason == reason


def test_a_score_that_is_not_finite_is_a_fault(tmp_path: Path) -> None:
    scorer = Scorer(read_bundle(make_bundle(tmp_path / "b", tensor_shape=(4,))))

    with pytest.raises(FrameError) as error:
        scorer.score(np.full(4, 3e38, np.float32))
    assert error.value.reason == "not_finite"


def test_a_frame_on_which_the_model_fails_is_a_fault(bundle: Bundle) -> None:
    spec = bundle.manifest.input.model_copy(update={"height": 9})
    scorer = Scorer(with_manifest(bundle, input=spec), verify=False)

    with pytest.raises(FrameError) as error:
        scorer.score(make_frame(0.5))
    assert error.value.reason == "model_failed"
    assert "\n" not in str(error.value)


# Golden frames


def test_golden_frames_within_the_tolerance_are_accepted(bundle: Bundle) -> None:
    Scorer(with_golden(bundle, scores=bundle.golden.scores + np.float32(0.9e-4)))


@pytest.mark.parametrize("shift", [1.1e-4, -1.1e-4, np.nan, np.inf])
def test_other_scores_than_the_exporters_are_refused(bundle: Bundle, shift: float) -> None:
    scores = bundle.golden.scores.copy()
    scores[-1] += np.float32(shift)

    with pytest.raises(GoldenMismatchError, match=r"toy-1: golden frame 15 scores 0\.6, the exporter saw"):
        Scorer(with_golden(bundle, scores=scores))


def test_other_outputs_than_the_exporters_are_refused(bundle: Bundle) -> None:
    outputs = {"logits": bundle.golden.outputs["logits"].copy()}
    outputs["logits"][3, 0] += 0.1

    with pytest.raises(GoldenMismatchError, match="golden frame 3 gives another output 'logits'"):
        Scorer(with_golden(bundle, outputs=outputs))


@pytest.mark.parametrize("name", ["logits", "boxes"])
def test_an_output_of_another_size_or_name_is_refused(bundle: Bundle, name: str) -> None:
    with pytest.raises(GoldenMismatchError, match=f"another output '{name}'"):
        Scorer(with_golden(bundle, outputs={name: np.zeros((16, 5))}))


@pytest.mark.parametrize(
    "changes",
    [{"scale": 1 / 256}, {"mean": (0.1,)}, {"std": (0.9,)}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_preprocessing_than_the_exporters_is_refused(bundle: Bundle, changes: dict[str, Any]) -> None:
    spec = bundle.manifest.input.model_copy(update=changes)

    with pytest.raises(GoldenMismatchError, match="preprocessing, onnxruntime or its execution provider differ"):
        Scorer(with_manifest(bundle, input=spec))


def test_golden_frames_that_cannot_be_scored_are_refused(bundle: Bundle) -> None:
    frames = tuple(frame.astype(np.float32) for frame in bundle.golden.frames)

    with pytest.raises(GoldenMismatchError, match="golden frame 0 cannot be scored"):
        Scorer(with_golden(bundle, frames=frames))


# Models


def rename(graph: onnx.GraphProto, name: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if output == name else output for output in node.output]
    for output in graph.output:
        output.name = new if output.name == name else output.name


@pytest.mark.parametrize("output", ["driftprint_score", "driftprint_layers", "logits"])
def test_a_graph_without_one_of_the_outputs_is_refused(bundle: Bundle, output: str) -> None:
    with pytest.raises(BundleError, match=rf"model\.onnx: the graph has no output '{output}'"):
        Scorer(with_model(bundle, lambda graph: rename(graph, output, "other")))


def test_a_graph_with_another_input_is_refused(bundle: Bundle) -> None:
    spec = bundle.manifest.input.model_copy(update={"name": "pixels"})

    with pytest.raises(BundleError, match=r"the graph's inputs are \['input'\], the manifest has 'pixels'"):
        Scorer(with_manifest(bundle, input=spec))


def test_a_graph_whose_score_has_no_batch_axis_is_refused(bundle: Bundle) -> None:
    def squeeze(graph: onnx.GraphProto) -> None:
        rename(graph, "driftprint_score", "with_batch")
        graph.node.append(onnx.helper.make_node("Squeeze", ["with_batch"], ["driftprint_score"]))
        next(output for output in graph.output if output.name == "with_batch").CopyFrom(
            onnx.helper.make_tensor_value_info("driftprint_score", onnx.TensorProto.FLOAT, [])
        )

    with pytest.raises(BundleError, match="driftprint_score"):
        Scorer(with_model(bundle, squeeze))


@pytest.mark.parametrize("model", [b"", b"\x08\x09", b"junk"])
def test_what_onnxruntime_cannot_load_is_refused_on_one_line(bundle: Bundle, model: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx: onnxruntime cannot load it") as error:
        Scorer(dataclasses.replace(bundle, model=model))
    assert "\n" not in str(error.value)


def test_a_missing_execution_provider_is_named(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"providers: no execution provider 'MoonExecutionProvider' is known"):
        Scorer(bundle, providers=("MoonExecutionProvider", "CPUExecutionProvider"))


def test_a_provider_that_this_machine_lacks_is_passed_over(bundle: Bundle) -> None:
    scorer = Scorer(bundle, providers=("TensorrtExecutionProvider", "CPUExecutionProvider"))
    assert scorer.providers == ("CPUExecutionProvider",)


def test_a_machine_that_has_none_of_the_providers_is_told_which_there_are(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"providers: none of .* is here; there are \['.*CPUExecutionProvider'"):
        Scorer(bundle, providers=("TensorrtExecutionProvider",))


def test_the_providers_in_use_are_told(scorer: Scorer) -> None:
    assert scorer.providers == ("CPUExecutionProvider",)

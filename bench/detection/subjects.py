"""The models under test, taken out of their committed bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from driftprint.bundle import Bundle, read_bundle
from driftprint.installed import find_bundle
from driftprint.manifest import LAYERS_OUTPUT, SCORE_OUTPUT, ImageInput
from driftprint_export.builder import PREFIX
from driftprint_export.reference.models import MODELS
from driftprint_export.reference.training import Normalisation
from driftprint_export.source import SourceModel, prepare

BUNDLES = Path("exporters/bundles")
QUICK = "digits"
"""The model that the quick run takes: its bundle and its data come with packages."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """A model, and what it was trained on.

    Attributes:
        bundle: as committed.
        spec: how pixels become its input.
        source: the model without a fingerprint.
    """

    bundle: Bundle
    spec: ImageInput
    source: SourceModel

    @property
    def normalisation(self) -> Normalisation:
        """Of the pixels."""
        return Normalisation(self.spec.mean, self.spec.std)

    def inputs(self, pixels: Pixels) -> NDArray[np.float32]:
        """The model's input for pixels from 0 to 255 that have its size, rounded or not: float32 [N, C, H, W]."""
        planes = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        mean, std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (self.spec.mean, self.spec.std))
        scaled = planes.astype(np.float32) * np.float32(self.spec.scale)
        normal: NDArray[np.float32] = np.ascontiguousarray((scaled - mean) / std)
        return normal


def names() -> list[str]:
    """Every model that has a bundle."""
    return [QUICK, *sorted(path.stem.rpartition("-")[0] for path in BUNDLES.glob("*.driftprint"))]


def data_of(name: str) -> str:
    """The data set that a model was trained on; see `driftprint_export.reference.datasets.load`."""
    return QUICK if name == QUICK else MODELS[name].data


def open_subject(name: str) -> Subject:
    """Read a model's bundle and take the fingerprint out of a copy of its graph.

    Raises:
        BundleError: where it cannot be read.
        TypeError: where the model takes no images.
    """
    path = find_bundle(name) if name == QUICK else find_bundle(name, BUNDLES)
    bundle = read_bundle(path)
    spec = bundle.manifest.input
    if not isinstance(spec, ImageInput):
        raise TypeError(f"{path} takes no images")
    return Subject(bundle, spec, prepare(without_fingerprint(onnx.load_from_string(bundle.model)), path.name, {}))


def without_fingerprint(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as it was before its export."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    added = {SCORE_OUTPUT, LAYERS_OUTPUT}
    kept = [
        node for node in model.graph.node if not node.name.startswith(f"{PREFIX}/") and not added & set(node.output)
    ]
    used = {name for node in kept for name in node.input}
    del bare.graph.node[:], bare.graph.initializer[:], bare.graph.output[:]
    bare.graph.node.extend(kept)
    bare.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in used)
    bare.graph.output.extend(output for output in model.graph.output if output.name not in added)
    return bare

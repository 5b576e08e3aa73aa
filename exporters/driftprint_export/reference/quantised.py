"""A model in whole numbers, as small devices like it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from driftprint_export.source import SourceModel, prepare


def in_int8(source: SourceModel, inputs: NDArray[np.float32]) -> SourceModel:
    """Quantise a model to 8 bits, in QDQ form, by onnxruntime's static quantisation.

    Args:
        source: the model, in float32.
        inputs: some hundreds of inliers as the model takes them, float32 [N, ...]: their range in each layer becomes
            the range of the integers.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, before, after = (Path(folder) / f"{name}.onnx" for name in ("given", "float32", "int8"))
        onnx.save(source.proto, str(given))
        quant_pre_process(given, before, skip_symbolic_shape=True)
        quantize_static(before, after, _Reader(source.input.name, inputs), quant_format=QuantFormat.QDQ)
        return prepare(onnx.load(str(after)), source.name, {})


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, inputs: NDArray[np.float32]) -> None:
        self._rest = ({name: inputs[i : i + 1]} for i in range(len(inputs)))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input, as onnxruntime asks for it."""
        return next(self._rest, None)

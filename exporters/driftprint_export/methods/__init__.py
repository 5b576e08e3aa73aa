"""The fingerprint methods. A new one is a file here and a line in `METHODS`."""

from collections.abc import Callable

from driftprint_export.methods.autoencoder import NeuralFp
from driftprint_export.methods.base import Classes, Features, FittedMethod, Method, Responses, Tensors
from driftprint_export.methods.fdbd import Fdbd
from driftprint_export.methods.floor import Energy, MaxLogit, Msp
from driftprint_export.methods.gaussian import Gaussian
from driftprint_export.methods.gram import Gram
from driftprint_export.methods.knn import Knn
from driftprint_export.methods.nac import Nac
from driftprint_export.methods.relative import Relative
from driftprint_export.methods.vim import Vim

METHODS: dict[str, Callable[[], Method]] = {
    Gaussian.name: Gaussian,
    Relative.name: Relative,
    Gram.name: Gram,
    Knn.name: Knn,
    Nac.name: Nac,
    NeuralFp.name: NeuralFp,
    Vim.name: Vim,
    Fdbd.name: Fdbd,
    Energy.name: Energy,
    Msp.name: Msp,
    MaxLogit.name: MaxLogit,
}
"""Every method by its name."""

DEFAULT_METHOD = Gaussian.name

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "Classes",
    "Features",
    "FittedMethod",
    "Method",
    "Responses",
    "Tensors",
]

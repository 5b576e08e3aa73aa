"""The detectors of pytorch-ood, as they come, on the same model and the same pictures (Kirchheim et al., CVPRW 2022).

Each has its own defaults; none is tuned here, on outliers or otherwise. They are fitted on the inliers that the
fingerprints are fitted on, with the true labels where they ask for labels.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from driftprint_export.methods import Responses

CHUNK = 100


@dataclass(frozen=True)
class Frames:
    """Some frames, and how the model responds to them.

    Attributes:
        inputs: float32 [N, C, H, W].
        responses: of N frames.
    """

    inputs: NDArray[np.float32]
    responses: Responses

    @property
    def layers(self) -> list[torch.Tensor]:
        """Each layer's pooled vectors."""
        return [torch.from_numpy(np.asarray(layer)) for layer in self.responses.features]

    @property
    def logits(self) -> torch.Tensor:
        """Of each frame, [N, K]."""
        return torch.from_numpy(np.asarray(self.responses.logits))


Score = Callable[[Frames], torch.Tensor]


def fit_peers(fit: Frames, labels: NDArray[np.int64], stages: list[nn.Module]) -> Iterator[tuple[str, Score]]:
    """Fit every peer.

    Args:
        fit: inliers.
        labels: their true classes, int64 [N].
        stages: the model in parts, each ending in a fingerprinted layer, and the rest; see
            `bench.detection.torch_graph.in_stages`.
    """
    d = _detectors()
    y = torch.from_numpy(labels)
    weight, bias = _head(fit)
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.weight.data, head.bias.data = weight, bias
    for name, logits_detector in (
        ("MSP", d.MaxSoftmax(None)),
        ("MaxLogit", d.MaxLogit(None)),
        ("energy", d.EnergyBased(None)),
        ("GEN", d.GEN(None)),
    ):
        yield name, _of_logits(logits_detector)
    matching = d.KLMatching(None)
    matching.fit_logits(fit.logits, y)
    yield "KL matching", _of_logits(matching)
    for name, detector in (
        ("Mahalanobis", d.Mahalanobis(None)),
        ("relative Mahalanobis", d.RMD(None)),
        ("KNN", d.KNN(None)),
        ("ViM", d.ViM(None, d=weight.shape[1] // 2, w=weight, b=bias)),
        ("fDBD", d.fDBD(None, head)),
        ("SHE", d.SHE(None, head)),
        ("NCI", d.NCI(None, head)),
    ):
        detector.fit_features(fit.layers[-1], y)
        yield name, _of_features(detector)
    deep = d.MultiMahalanobis(stages[:-1])
    deep.fit_structured(fit.layers, y)
    yield "Mahalanobis, all layers", lambda frames: deep.predict_structured(frames.layers)
    loader = DataLoader(TensorDataset(torch.from_numpy(fit.inputs), y), batch_size=CHUNK)
    gram = d.Gram(stages[-1], list(stages[:-1]), num_classes=weight.shape[0])
    gram.fit(loader)
    yield "Gram", lambda frames: _in_chunks(gram, frames)
    coverage = d.NACUE(nn.Sequential(*stages), layers=list(stages[:-1]))
    coverage.fit(loader)
    yield "NAC-UE", lambda frames: _in_chunks(coverage, frames)


def _of_logits(detector: Any) -> Score:
    return lambda frames: detector.predict_logits(frames.logits)


def _of_features(detector: Any) -> Score:
    return lambda frames: detector.predict_features(frames.layers[-1])


def _in_chunks(detector: Any, frames: Frames) -> torch.Tensor:
    parts = torch.split(torch.from_numpy(frames.inputs), CHUNK)
    return torch.cat([detector.predict(part).detach().cpu() for part in parts])


def _head(fit: Frames) -> tuple[torch.Tensor, torch.Tensor]:
    """The last layer's weights [K, C] and bias [K]: the nets end in a linear layer, so least squares give them."""
    x = fit.layers[-1].double()
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    solution = torch.linalg.lstsq(x, fit.logits.double(), driver="gelsd").solution.T.float()
    return solution[:, :-1].contiguous(), solution[:, -1].contiguous()


def _detectors() -> Any:
    """pytorch-ood's detectors. It imports torchvision for its data sets, which nothing here needs."""
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(_StandIn())
    return importlib.import_module("pytorch_ood.detector")


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds torchvision and whatever of it is asked for, all empty."""

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Only torchvision's."""
        if fullname.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, _spec: importlib.machinery.ModuleSpec) -> None:
        """A plain module."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Whatever is asked of it is an empty class."""
        module.__getattr__ = _empty_class  # type: ignore[method-assign]


def _empty_class(name: str) -> type:
    if name.startswith("__"):  # Python itself asks whether a module has a file, and takes a class for one
        raise AttributeError(name)
    return type(name, (), {})

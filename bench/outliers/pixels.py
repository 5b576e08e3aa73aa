"""Pixels as networks take them, a model that takes them, and what an attack gives back."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from driftprint_export.reference.training import Normalisation

CHUNK = 250

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Bound:
    """How far an attack may move a pixel whose values go from 0 to 1.

    Attributes:
        eps: the largest change of any pixel.
        step: the change of one step, where there are several.
        steps: how many.
    """

    eps: float
    step: float
    steps: int


COLOUR = Bound(8 / 255, 2 / 255, 10)
GREY = Bound(0.3, 0.03, 20)
"""For pictures such as MNIST's, which are nearly black and white."""


def bound_of(images: Images) -> Bound:
    """What is usual for uint8 [N, H, W], or for [N, H, W, 3]."""
    return GREY if images.ndim == 3 else COLOUR


@dataclass(frozen=True)
class Attacked:
    """Adversarial examples.

    Attributes:
        pixels: float32 [N, H, W] or [N, H, W, 3] from 0 to 255, not rounded.
        succeeded: bool [N]: which of them the model names otherwise than the pictures that they were made of. A
            benchmark scores these alone: the others fool nobody.
    """

    pixels: NDArray[np.float32]
    succeeded: NDArray[np.bool_]


class PixelModel(nn.Module):
    """A frozen copy of a model that normalises its input itself: float32 [N, C, H, W] from 0 to 1, to logits."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).view(1, -1, 1, 1))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model((x - self.mean) / self.std)
        return logits

    @torch.no_grad()
    def classes(self, x: torch.Tensor) -> torch.Tensor:
        """The most likely class of each, int64 [N]."""
        return torch.cat([self(chunk).argmax(dim=1) for chunk in torch.split(x, CHUNK)])


def to_planes(images: NDArray[Any]) -> torch.Tensor:
    """[N, H, W] or [N, H, W, C] from 0 to 255, to float32 [N, C, H, W] from 0 to 1."""
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32)) / 255


def to_pixels(planes: torch.Tensor) -> NDArray[np.float32]:
    """The inverse of `to_planes`."""
    values = np.clip(planes.detach().numpy() * np.float32(255), 0, 255)
    pixels: NDArray[np.float32] = values[:, 0] if values.shape[1] == 1 else values.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels)


def judged(model: PixelModel, images: Images, planes: torch.Tensor) -> Attacked:
    """Adversarial examples, [N, C, H, W] from 0 to 1, and which of them succeeded."""
    pixels = to_pixels(planes)
    changed = model.classes(to_planes(pixels)) != model.classes(to_planes(images))
    return Attacked(pixels, changed.numpy())

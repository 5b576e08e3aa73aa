"""Pictures, and small models that know them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from driftprint_export.reference.training import Normalisation
from tests.exporters.models import CLASSES, ConvNet, seeded, stripes


@dataclass(frozen=True)
class Known:
    """A model, its normalisation, and pictures that it has not seen but names rightly."""

    model: nn.Module
    normalisation: Normalisation
    images: NDArray[np.uint8]
    classes: int = CLASSES


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def grey() -> NDArray[np.uint8]:
    """Stripes of 16 x 16 pixels."""
    return stripes(300)[0]


@pytest.fixture(scope="session")
def colour(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same, tinted and faint: a change of 8 in 255 can hide them."""
    return tinted(grey)


@pytest.fixture(scope="session", params=["grey", "colour"])
def known(request: pytest.FixtureRequest) -> Known:
    frames, kinds = stripes(300)
    images = frames if request.param == "grey" else tinted(frames)
    channels = 1 if images.ndim == 3 else 3
    normalisation = Normalisation((0.5,) * channels, (0.2 if channels == 1 else 0.05,) * channels)
    model = seeded(ConvNet, inputs=channels).train()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(25):
        loss = loss_of(model(normalisation(images)), torch.from_numpy(kinds))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fresh, _ = stripes(16, seed=5)
    return Known(model.eval(), normalisation, fresh if channels == 1 else tinted(fresh))


def tinted(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    faint = 128 + (frames[..., None] - 128.0) * np.array([0.25, 0.15, 0.2])
    images: NDArray[np.uint8] = np.rint(faint).astype(np.uint8)
    return images

"""Trains a reference model on a CPU: resumable, reproducible, in view.

Every epoch's order and augmentation depend on the seed and the epoch's number alone, so a training that was
interrupted goes on as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from driftprint_export.reference.checkpoint import batches, save_whole
from driftprint_export.reference.muon import Muon
from driftprint_export.reference.nets import Whitening


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        net: makes the untrained model.
        epochs: how often to go over the images.
        batch: images a step.
        learning_rate: the largest one of the cycle; of Muon, see `driftprint_export.reference.muon`.
        weight_decay: of all weights but those that Muon keeps at one length.
        flip: whether to mirror half of the images.
        shift: by up to how many pixels to move them.
        cutout: the side of a square to blank in each; 0 for none (DeVries and Taylor, arXiv 1708.04552).
        adam: AdamW in place of Muon for filters, and SGD with Nesterov's momentum for the rest.
    """

    net: Callable[[], nn.Module]
    epochs: int
    batch: int = 256
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    flip: bool = False
    shift: int = 0
    cutout: int = 0
    adam: bool = False


@dataclass(frozen=True)
class Normalisation:
    """What is done to pixels, scaled to 0 to 1, before the model sees them: one number a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 [N, H, W] or [N, H, W, C] to float32 [N, C, H, W]."""
        planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        shape = (1, -1, 1, 1)
        scaled = torch.from_numpy(np.ascontiguousarray(planes)).float() / 255
        normal = (scaled - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)
        return normal.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Trained:
    """A trained model, in evaluation mode, and how long its training took."""

    model: nn.Module
    seconds: float


Show = Callable[[int, int, float], None]
"""Told after each step: the steps done, all steps, the loss."""


def train(
    recipe: Recipe,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    normalisation: Normalisation,
    *,
    seed: int,
    checkpoint: Path,
    show: Show,
) -> Trained:
    """Train, from the checkpoint on where there is one.

    Args:
        recipe: how.
        images: uint8 [N, H, W] or [N, H, W, 3].
        labels: uint8 [N].
        normalisation: done to the images.
        seed: of weights, order and augmentation.
        checkpoint: the file to save to after every epoch.
        show: told of every step.
    """
    torch.manual_seed(seed)
    model = recipe.net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in model.modules():
        if isinstance(module, Whitening):
            module.fit(normalisation(images[:2_000]))
    steps = len(images) // recipe.batch
    optimisers = _optimisers(recipe, model)
    schedules = [_schedule(optimiser, recipe.epochs * steps) for optimiser in optimisers]
    parts: dict[str, Any] = {
        "model": model,
        **{f"optimiser {i}": optimiser for i, optimiser in enumerate(optimisers)},
        **{f"schedule {i}": schedule for i, schedule in enumerate(schedules)},
    }
    done, seconds = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        done, seconds = saved["epochs"], saved["seconds"]
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(done, recipe.epochs):
        start = time.monotonic()
        random = np.random.default_rng((seed, epoch))
        for step, rows in enumerate(batches(len(images), recipe.batch, random)):
            batch = normalisation(augment(images[rows], recipe, random))
            loss = loss_of(model(batch), torch.from_numpy(labels[rows].astype(np.int64)))
            model.zero_grad()
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
            for schedule in schedules:
                schedule.step()
            show(epoch * steps + step + 1, recipe.epochs * steps, loss.item())
        seconds += time.monotonic() - start
        states = {name: part.state_dict() for name, part in parts.items()}
        save_whole(checkpoint, {**states, "epochs": epoch + 1, "seconds": seconds})
    return Trained(model.eval(), seconds)


def augment(images: NDArray[np.uint8], recipe: Recipe, random: np.random.Generator) -> NDArray[np.uint8]:
    """A changed copy of a batch of images."""
    n, height, width = images.shape[:3]
    if recipe.flip:
        images = images.copy()
        chosen = np.flatnonzero(random.random(n) < 0.5)
        images[chosen] = images[chosen, :, ::-1]
    if recipe.shift:
        edge = [(0, 0), (recipe.shift, recipe.shift), (recipe.shift, recipe.shift), (0, 0)][: images.ndim]
        padded = np.pad(images, edge, mode="reflect")
        down, right = random.integers(0, 2 * recipe.shift + 1, (2, n))
        rows = down[:, None] + np.arange(height)
        columns = right[:, None] + np.arange(width)
        images = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if recipe.cutout:
        middle = random.integers(0, (height, width), (n, 2))
        half = recipe.cutout // 2
        inside = [np.abs(np.arange(side) - middle[:, axis, None]) < half for axis, side in enumerate((height, width))]
        hidden = inside[0][:, :, None] & inside[1][:, None, :]
        images = images.copy()
        images[hidden] = 127
    return images


def predict(model: nn.Module, images: NDArray[np.uint8], normalisation: Normalisation) -> NDArray[np.int64]:
    """The class of every image: int64 [N]."""
    with torch.no_grad():
        chunks = [model(normalisation(images[i : i + 500])).argmax(dim=1) for i in range(0, len(images), 500)]
    classes: NDArray[np.int64] = torch.cat(chunks).numpy()
    return classes


def _optimisers(recipe: Recipe, model: nn.Module) -> list[torch.optim.Optimizer]:
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    if recipe.adam:
        return [torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)]
    filters = [weights for weights in trained if weights.ndim == 4]
    rest = [weights for weights in trained if weights.ndim != 4]
    return [
        Muon(filters, lr=recipe.learning_rate),
        torch.optim.SGD(rest, lr=0.1, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=True),
    ]


def _schedule(optimiser: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A short rise, then a straight fall to nought."""
    rise = max(1, steps // 20)
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / rise) * (1 - step / steps))

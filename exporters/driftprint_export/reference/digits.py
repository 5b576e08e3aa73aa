"""Makes the reference bundle ``digits``: trains a small net on handwritten digits and exports it.

``python -m driftprint_export.reference.digits --out core/driftprint/reference`` remakes what is committed,
score for score: training runs on one thread with a fixed seed, and floating point leaves the last digits to
the processor.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import nn

from driftprint.bundle import SUFFIX, write_bundle
from driftprint.digits import Digits, Part, load_digits
from driftprint.frames import ArrayFrames
from driftprint_export.classes import Task
from driftprint_export.inputs import ImageChoices, make_input
from driftprint_export.pipeline import Exported, ExportSettings, export
from driftprint_export.source import GraphInput
from driftprint_export.torch_source import trace_module

EPOCHS = 12
BATCH = 64
SEED = 7
LABELS = tuple(str(digit) for digit in range(10))


class DigitNet(nn.Sequential):
    """Three stages of two convolutions, about 70,000 weights."""

    def __init__(self) -> None:
        super().__init__(
            *_stage(1, 16),
            *_stage(16, 32),
            *_stage(32, 64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


def _stage(channels_in: int, channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for first, stride in ((channels_in, 1), (channels, 2)):
        layers += [
            nn.Conv2d(first, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    return layers


def train(digits: Digits, *, epochs: int = EPOCHS, seed: int = SEED) -> DigitNet:
    """Train on digits shifted by up to two pixels.

    Args:
        digits: to train on.
        epochs: how often to go over them.
        seed: of the weights, the order and the shifts.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = DigitNet()
    steps = epochs * (len(digits.frames) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for _ in range(epochs):
        order = random.permutation(len(digits.frames))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            shifted = np.stack([_shift(frame, random) for frame in digits.frames[rows]])
            loss = loss_of(model(_tensor(shifted)), torch.from_numpy(digits.labels[rows]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def accuracy(model: nn.Module, digits: Digits) -> float:
    """The share of digits that the model names rightly."""
    with torch.no_grad():
        predicted = model(_tensor(digits.frames)).argmax(dim=1).numpy()
    return float((predicted == digits.labels).mean())


def make(*, epochs: int = EPOCHS) -> tuple[Exported, float]:
    """The bundle, and the model's accuracy on digits that it was not trained on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads would add up in another order each time
    try:
        digits, calibration = load_digits(Part.TRAIN), load_digits(Part.CALIBRATION)
        model = train(digits, epochs=epochs)
        model_input = make_input(
            GraphInput("input", np.dtype(np.float32), (1, 28, 28), batched=True), digits.frames[0], ImageChoices()
        )
        exported = export(
            trace_module(model, np.zeros((1, 1, 28, 28), np.float32), "DigitNet"),
            model_input,
            ArrayFrames(digits.frames),
            ArrayFrames(calibration.frames),
            ExportSettings(
                name="digits",
                description="handwritten digits: a small net trained on MNIST digits",
                labels=LABELS,
                task=Task.CLASSIFIER,
                arguments={"recipe": "driftprint_export.reference.digits"},
            ),
            first=digits.frames[0],
            track=_silent,
        )
        return exported, accuracy(model, calibration)
    finally:
        torch.set_num_threads(threads)


def main(
    out: Annotated[Path, typer.Option(help="The folder to write the bundle into.")],
    epochs: Annotated[int, typer.Option(help="How often to go over the training digits.")] = EPOCHS,
) -> None:
    """Train the digit net and write its bundle; about a minute."""
    exported, right = make(epochs=epochs)
    bundle = exported.bundle
    path = out / f"{bundle.manifest.id}{SUFFIX}"
    write_bundle(path, bundle.manifest, bundle.model, bundle.golden)
    print(f"{path}: {right:.1%} of the calibration digits named rightly")


def _shift(frame: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    down, right = random.integers(-2, 3, size=2)
    return np.roll(frame, (down, right), axis=(0, 1))


def _tensor(frames: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(frames[:, None].astype(np.float32) / 255)


def _silent(items: Iterable[Any], _description: str, _total: int) -> Iterable[Any]:
    return items


if __name__ == "__main__":
    typer.run(main)

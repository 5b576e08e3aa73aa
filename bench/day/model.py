"""The model that watches the camera: it tells the places apart, and is fingerprinted as any other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.day.scenes import DAY_SECONDS, PLACES, Camera
from driftprint.bundle import Bundle
from driftprint.frames import ArrayFrames
from driftprint_export.classes import Task
from driftprint_export.inputs import ImageChoices, make_input
from driftprint_export.pipeline import ExportSettings, export
from driftprint_export.source import GraphInput
from driftprint_export.torch_source import trace_module

SIDE = 64
TRAIN, CALIBRATION = 3000, 2000
EPOCHS, BATCH = 4, 50


def make_bundle(seed: int) -> Bundle:
    """Train a small net on frames of all hours, and fingerprint it; half a minute."""
    torch.manual_seed(seed)
    frames, places = _collect(TRAIN, np.random.default_rng(seed))
    model = _train(_net(), frames, places)
    calibration, _ = _collect(CALIBRATION, np.random.default_rng(seed + 1))
    graph_input = GraphInput("input", np.dtype(np.float32), (3, SIDE, SIDE), batched=True)
    return export(
        trace_module(model, np.zeros((1, 3, SIDE, SIDE), np.float32), "Places"),
        make_input(graph_input, frames[0], ImageChoices()),
        ArrayFrames(frames),
        ArrayFrames(calibration),
        ExportSettings(name="places", labels=PLACES, task=Task.CLASSIFIER),
        first=frames[0],
        track=_silent,
    ).bundle


def _collect(count: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    camera = Camera(PLACES, random)
    seen = [camera.frame(second) for second in random.uniform(0, DAY_SECONDS, count)]
    return np.stack([frame for frame, _ in seen]), np.array([place for _, place in seen])


def _net() -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(PLACES)))


def _train(model: nn.Sequential, frames: NDArray[np.uint8], places: NDArray[np.int64]) -> nn.Sequential:
    halved = frames.reshape(len(frames), SIDE, 2, SIDE, 2, 3).mean(axis=(2, 4), dtype=np.float32)
    inputs = torch.from_numpy(halved.transpose(0, 3, 1, 2) / 255)
    targets = torch.from_numpy(places)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs)).view(-1, BATCH):
            optimiser.zero_grad()
            loss_of(model(inputs[rows]), targets[rows]).backward()
            optimiser.step()
    return model.eval()


def _silent(items: Iterable[Any], _description: str, _total: int) -> Iterable[Any]:
    return items

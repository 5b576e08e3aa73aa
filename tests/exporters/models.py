"""Small models of every kind that the exporter takes, and inliers to fit them on."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from driftprint_export.reference import quantised
from driftprint_export.source import SourceModel, load_onnx, prepare
from driftprint_export.torch_source import trace_module

SIDE = 16
CLASSES = 3


class ConvNet(nn.Sequential):
    """Three stages of 16, 8 and 4 pixels, then logits."""

    def __init__(self, channels: int = 8, *, inputs: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.Conv2d(2 * channels, 4 * channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * channels, CLASSES),
        )


class TokenNet(nn.Module):
    """A vision transformer of two blocks on patches of 4 x 4 pixels."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, 4, stride=4)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True, dropout=0.0) for _ in range(2)
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(dim=1))  # type: ignore[no-any-return]


class VectorNet(nn.Sequential):
    """A perceptron on raw vectors of 20 numbers."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, CLASSES))


class UNet(nn.Module):
    """Down and up again, with the early map joined to the late one: a mask of the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.head = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.down(x)
        return self.head(torch.cat([early, self.up(self.deep(early))], dim=1))  # type: ignore[no-any-return]


class TwoHeads(nn.Module):
    """A detector's shape: boxes and scores for 16 places, no classes of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*list(ConvNet())[:7])
        self.boxes = nn.Conv2d(32, 4, 1)
        self.scores = nn.Conv2d(32, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(x)
        return self.boxes(features).flatten(2), self.scores(features).flatten(2).sigmoid()


def seeded(make: type[nn.Module], seed: int = 0, **arguments: Any) -> nn.Module:
    """An untrained net, always the same."""
    torch.manual_seed(seed)
    return make(**arguments).eval()


def traced(module: nn.Module, shape: Sequence[int] = (1, SIDE, SIDE)) -> SourceModel:
    """A module as the exporter sees it."""
    return trace_module(module, np.zeros((1, *shape), np.float32), type(module).__name__)


def at_opset(module: nn.Module, version: int, shape: Sequence[int] = (1, SIDE, SIDE)) -> SourceModel:
    """A module as older versions of PyTorch exported it."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(1, *shape),),
            file,
            dynamo=False,
            opset_version=version,
            input_names=["input"],
            dynamic_axes={"input": {0: "N"}},
        )
        return load_onnx(file)


def with_fixed_batch(source: SourceModel) -> SourceModel:
    """The same model for one frame at a time."""
    proto = copy(source)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return prepare(proto, source.name, {})


def with_constant_nodes(source: SourceModel) -> SourceModel:
    """The same model with its weights in Constant nodes, as some exporters write them."""
    proto = copy(source)
    constants = [
        helper.make_node("Constant", [], [weight.name], value=weight) for weight in source.proto.graph.initializer
    ]
    nodes = [*constants, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return prepare(proto, source.name, {})


def in_float16(source: SourceModel) -> SourceModel:
    """The same model with weights and arithmetic of half precision; input and output stay single."""
    proto = copy(source)
    graph = proto.graph
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    given, made = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        node.input[:] = ["half" if name == given else name for name in node.input]
        node.output[:] = ["result" if name == made else name for name in node.output]
    first = helper.make_node("Cast", [given], ["half"], to=TensorProto.FLOAT16)
    last = helper.make_node("Cast", ["result"], [made], to=TensorProto.FLOAT)
    nodes = [first, *graph.node, last]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return prepare(proto, source.name, {})


def in_int8(source: SourceModel, frames: NDArray[np.uint8]) -> SourceModel:
    """The same model quantised to integers, in QDQ form."""
    return quantised.in_int8(source, frames[:, None].astype(np.float32) / np.float32(255))


def copy(source: SourceModel) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    return proto


def stripes(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Inliers: noisy stripes that lie, stand or slant, and which of these; uint8 [N, 16, 16] and [N]."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, CLASSES, count)
    y, x = np.mgrid[:SIDE, :SIDE]
    phase = random.uniform(0, 2 * np.pi, (count, 1, 1))
    along = np.stack([y, x, x + y])[kinds]
    waves = 128 + 60 * np.sin(along * 1.2 + phase) + random.normal(0, 8, (count, SIDE, SIDE))
    return np.clip(waves, 0, 255).astype(np.uint8), kinds


def noise(count: int, seed: int = 1) -> NDArray[np.uint8]:
    """Outliers: pixels that have nothing to do with each other."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE), np.uint8)


def trained_net(frames: NDArray[np.uint8], kinds: NDArray[np.int64]) -> nn.Module:
    """A `ConvNet` that has learnt the stripes."""
    model = seeded(ConvNet).train()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    inputs = torch.from_numpy(frames[:, None].astype(np.float32) / 255)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(30):
        loss = loss_of(model(inputs), torch.from_numpy(kinds))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()

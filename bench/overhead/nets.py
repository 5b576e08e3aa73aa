"""Nets of several sizes and kinds. Their weights are random: speed does not depend on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

CLASSES = 10


@dataclass(frozen=True)
class Net:
    """A net to measure.

    Attributes:
        name: for the table.
        make: builds it.
        size: height and width of its input.
    """

    name: str
    make: Callable[[], nn.Module]
    size: int


class _Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut (He, Zhang, Ren, Sun, CVPR 2016, figure 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def residual_net(widths: tuple[int, ...], blocks: int) -> nn.Module:
    """A residual net with one stage a width, each stage after the first at half the resolution."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    channels = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(_Residual(channels, width, 2 if stage and not block else 1))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class VisionTransformer(nn.Module):
    """A small one (Dosovitskiy et al., ICLR 2021), with mean pooling in place of the class token."""

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.positions = nn.Parameter(torch.zeros(1, (size // patch) ** 2, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        logits: torch.Tensor = self.head(tokens.mean(dim=1))
        return logits


NETS = (
    Net("residual net 8, 32x32", lambda: residual_net((12, 24, 48), 1), 32),
    Net("residual net 20, 32x32", lambda: residual_net((16, 32, 64), 3), 32),
    Net("residual net 10, 64x64", lambda: residual_net((32, 64, 128, 256), 1), 64),
    Net("vision transformer, 96x96", lambda: VisionTransformer(96, 8, 192, 6, 3), 96),
    Net("residual net 18, 64x64", lambda: residual_net((64, 128, 256, 512), 2), 64),
)

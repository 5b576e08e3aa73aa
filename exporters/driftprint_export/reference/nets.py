"""The reference models' architectures. They take frames as their recipe's manifest normalises them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn


class ConvBlock(nn.Sequential):
    """Convolution, optional pooling, normalisation, rectifier."""

    def __init__(self, channels_in: int, channels: int, *, pool: bool = False) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            *([nn.MaxPool2d(2)] * pool),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class PooledStage(nn.Module):
    """Halves the map, then adds a block's output to its input.

    The stages of the fast CIFAR-10 nets (Keller Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU",
    arXiv 2404.00498, section 3), with a shortcut around the second convolution.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.down = ConvBlock(channels_in, channels, pool=True)
        self.block = ConvBlock(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C_in, H, W] to [N, C, H/2, W/2]."""
        x = self.down(x)
        return x + self.block(x)  # type: ignore[no-any-return]


class Whitening(nn.Conv2d):
    """A first convolution that is computed, not trained: patches of 2 x 2 pixels along their principal directions.

    Each direction is scaled to unit variance and taken with both signs (the same paper, section 3.2).
    """

    weight: nn.Parameter
    bias: nn.Parameter
    outputs = 24
    """Channels it gives: twice 2 x 2 pixels of three colours."""

    def __init__(self) -> None:
        super().__init__(3, self.outputs, 2)
        self.weight.requires_grad = False

    def fit(self, images: torch.Tensor) -> None:
        """Compute the filters.

        Args:
            images: float32 [N, 3, H, W], some hundreds of them, normalised.
        """
        patches = nn.functional.unfold(images, 2).transpose(1, 2).flatten(0, 1)
        variances, directions = torch.linalg.eigh(torch.cov(patches.T))
        filters = (directions / torch.sqrt(variances + 5e-4)).T.reshape(-1, 3, 2, 2)
        self.weight.data.copy_(torch.cat([filters, -filters]))


class FastResNet(nn.Sequential):
    """A shallow, wide residual net for 32 x 32 pixels: most accuracy for the time to train it on a CPU."""

    def __init__(self, widths: Sequence[int] = (64, 128, 240), *, classes: int = 10) -> None:
        stem = Whitening.outputs
        stages = [PooledStage(a, b) for a, b in zip((stem, *widths[:-1]), widths, strict=True)]
        super().__init__(
            nn.Sequential(Whitening(), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(widths[-1], classes),
        )


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut (He et al., "Deep residual learning for image recognition", CVPR 2016)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C_in, H, W] to [N, C, H/stride, W/stride]."""
        return torch.relu(self.body(x) + self.shortcut(x))


class SmallResNet(nn.Sequential):
    """The thin residual nets of the same paper's section 4.2; 20 layers and 0.27 M weights by default."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64), *, blocks: int = 3, classes: int = 10) -> None:
        layers: list[nn.Module] = [ConvBlock(3, widths[0])]
        before = widths[0]
        for width in widths:
            for block in range(blocks):
                layers.append(BasicBlock(before, width, 2 if block == 0 and before != width else 1))
                before = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


class DigitResNet(nn.Sequential):
    """Convolutions for 28 x 28 grey pixels, 0.08 M weights."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64), *, classes: int = 10) -> None:
        stages = [PooledStage(a, b) for a, b in itertools.pairwise(widths)]
        super().__init__(
            ConvBlock(1, widths[0]), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)
        )


class SmallViT(nn.Module):
    """A vision transformer for 32 x 32 pixels, patches of 4 x 4 (Dosovitskiy et al., ICLR 2021, section 3.1).

    The patches are embedded by two convolutions (Xiao et al., "Early convolutions help transformers see
    better", NeurIPS 2021), which small data sets need.
    """

    def __init__(self, *, width: int = 96, depth: int = 4, heads: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )
        self.places = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, 32, 32] to [N, classes]."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """Attention, then two linear layers, each on normalised tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.after = nn.LayerNorm(width)
        self.body = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[N, T, C] to [N, T, C]."""
        n, count, width = tokens.shape
        parts = self.queries_keys_values(self.before(tokens)).view(n, count, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
        tokens = tokens + self.join(seen.transpose(1, 2).reshape(n, count, width))
        return tokens + self.body(self.after(tokens))  # type: ignore[no-any-return]

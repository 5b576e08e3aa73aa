"""A small DCGAN: pictures that look like a data set's, and are not (Radford, Metz, Chintala, ICLR 2016)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.outliers.pixels import Images, to_pixels, to_planes
from driftprint_export.reference.checkpoint import Checkpoint, batches
from driftprint_export.reference.training import Show

BATCH = 64
NOISE = 64
REAL = 0.9
"""What the discriminator is to say of real pictures: smoothed on one side (Salimans et al., NeurIPS 2016)."""


class Generator(nn.Module):
    """Noise, float32 [N, 64], to pictures from -1 to 1, float32 [N, C, H, W].

    Args:
        shape: channels and side of the pictures: 7 or 4 pixels, doubled a few times.
        width: channels of the finest map; each coarser one has twice as many.
    """

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__()
        channels, side = shape
        doublings, start = halvings(side)
        widths = [width << level for level in reversed(range(doublings))]
        layers: list[nn.Module] = [
            nn.Linear(NOISE, widths[0] * start * start, bias=False),
            nn.Unflatten(1, (widths[0], start, start)),
        ]
        for wide, narrow in zip(widths, [*widths[1:], channels], strict=True):
            layers += [nn.BatchNorm2d(wide), nn.ReLU(inplace=True), nn.ConvTranspose2d(wide, narrow, 4, 2, 1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        pictures: torch.Tensor = self.layers(noise)
        return pictures


class Discriminator(nn.Sequential):
    """Pictures from -1 to 1, float32 [N, C, H, W], to logits of being real, [N, 1]; arguments as of `Generator`."""

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        channels, side = shape
        doublings, start = halvings(side)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for wide in (width << level for level in range(1, doublings)):
            layers += [
                nn.Conv2d(wide // 2, wide, 4, 2, 1, bias=False),
                nn.BatchNorm2d(wide),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        last = (width << (doublings - 1)) * start * start
        super().__init__(*layers, nn.Flatten(), nn.Linear(last, 1))


def train_gan(images: Images, *, seed: int, epochs: int, checkpoint: Path, show: Show, width: int = 32) -> Generator:
    """Train a generator, from the checkpoint on where there is one.

    Args:
        images: uint8 [N, H, W] or [N, H, W, 3], 64 and more, square.
        seed: of weights, order and noise.
        epochs: how often to go over the images.
        checkpoint: the file to save to after every epoch.
        show: told of every step: the steps done, all steps, the generator's loss.
        width: channels of the finest map. With 32, a training step takes some 20 million multiply-adds a picture of
            28 x 28 grey pixels, and 55 million for 32 x 32 in colour.
    """
    shape = (1 if images.ndim == 3 else images.shape[3], images.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, discriminator = Generator(shape, width), Discriminator(shape, width)
        for module in (generator, discriminator):
            module.apply(_initialise)
    makes = torch.optim.Adam(generator.parameters(), 2e-4, betas=(0.5, 0.999))
    tells = torch.optim.Adam(discriminator.parameters(), 2e-4, betas=(0.5, 0.999))
    kept = Checkpoint(
        checkpoint, {"generator": generator, "discriminator": discriminator, "makes": makes, "tells": tells}
    )
    steps = len(images) // BATCH
    for epoch in range(kept.resume(), epochs):
        random = np.random.default_rng((seed, epoch))
        for step, rows in enumerate(batches(len(images), BATCH, random)):
            real = to_planes(images[rows]) * 2 - 1
            made = generator(_noise(len(real), random))
            judge(discriminator, tells, real, made.detach())
            said = discriminator(made)
            loss = nn.functional.binary_cross_entropy_with_logits(said, torch.ones_like(said))
            makes.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            makes.step()
            show(epoch * steps + step + 1, epochs * steps, loss.item())
        kept.save(epoch + 1)
    return generator.eval()


def judge(
    discriminator: Discriminator, optimiser: torch.optim.Optimizer, real: torch.Tensor, made: torch.Tensor
) -> None:
    """One step of a discriminator's training: real pictures towards 0.9, made ones towards 0."""
    loss = torch.zeros(())
    for pictures, target in ((real, REAL), (made, 0.0)):
        said = discriminator(pictures)
        loss = loss + nn.functional.binary_cross_entropy_with_logits(said, torch.full_like(said, target))
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@torch.no_grad()
def sample(generator: Generator, count: int, *, seed: int) -> Images:
    """Make pictures: uint8 [N, H, W] or [N, H, W, 3].

    Those in colour must pass through `driftprint_export.reference.coding.as_jpeg` before they are compared with
    JPEG files.
    """
    noise = _noise(count, np.random.default_rng(seed))
    pictures = torch.cat([generator(chunk) for chunk in torch.split(noise, BATCH)])
    return np.rint(to_pixels(pictures / 2 + 0.5)).astype(np.uint8)


def halvings(side: int) -> tuple[int, int]:
    """How often a side can be halved while 4 pixels and more remain, and what remains."""
    count = 0
    while side % 2 == 0 and side >= 8:
        count, side = count + 1, side // 2
    return count, side


def _initialise(module: nn.Module) -> None:
    """As in section 3 of the paper; batch normalisation stays as it is."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _noise(count: int, random: np.random.Generator) -> torch.Tensor:
    values: NDArray[np.float32] = random.standard_normal((count, NOISE), np.float32)
    return torch.from_numpy(values)

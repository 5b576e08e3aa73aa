"""AdvGAN: a network that learns to attack another one in a single pass.

Xiao, Li, Zhu, He, Liu, Song, "Generating adversarial examples with adversarial networks", IJCAI 2018.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.outliers.gan import Discriminator, judge
from bench.outliers.pixels import Attacked, Images, PixelModel, bound_of, judged, to_planes
from driftprint_export.reference.checkpoint import Checkpoint, batches
from driftprint_export.reference.training import Normalisation, Show

BATCH = 64
WIDTH = 16
BLOCKS = 3
GAN_WEIGHT = 0.1
NORM_WEIGHT = 0.1
"""Of the two losses beside the adversarial one."""


class _Block(nn.Module):
    """Two convolutions with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(width, width, 1), nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = x + self.body(x)
        return changed


class Perturber(nn.Module):
    """Pictures from 0 to 1, float32 [N, C, H, W], to the same with each value moved by at most `eps`.

    Height and width are multiples of 4. Convolutions to a quarter of the side, residual blocks, and back, as in the
    image-to-image nets that the paper takes over.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.layers = nn.Sequential(
            *_convolution(channels, WIDTH, 1),
            *_convolution(WIDTH, 2 * WIDTH, 2),
            *_convolution(2 * WIDTH, 4 * WIDTH, 2),
            *(_Block(4 * WIDTH) for _ in range(BLOCKS)),
            *_widening(4 * WIDTH, 2 * WIDTH),
            *_widening(2 * WIDTH, WIDTH),
            nn.Conv2d(WIDTH, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved: torch.Tensor = (x + self.eps * self.layers(x)).clamp(0, 1)
        return moved


def train_advgan(
    model: nn.Module,
    normalisation: Normalisation,
    images: Images,
    *,
    seed: int,
    epochs: int,
    checkpoint: Path,
    show: Show,
) -> Perturber:
    """Train an attacker, from the checkpoint on where there is one.

    Args:
        model: the one to attack: takes normalised pictures, gives logits; it is not changed.
        normalisation: of its input.
        images: uint8 [N, H, W] or [N, H, W, 3], 64 and more.
        seed: of weights and order.
        epochs: how often to go over the images.
        checkpoint: the file to save to after every epoch.
        show: told of every step: the steps done, all steps, the attacker's loss.
    """
    target = PixelModel(model, normalisation)
    channels = 1 if images.ndim == 3 else images.shape[3]
    eps = bound_of(images).eps
    allowed = 0.5 * eps * float(np.sqrt(images[0].size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        perturber, discriminator = Perturber(channels, eps), Discriminator((channels, images.shape[1]), WIDTH)
    attacks = torch.optim.Adam(perturber.parameters(), 1e-3)
    tells = torch.optim.Adam(discriminator.parameters(), 2e-4, betas=(0.5, 0.999))
    kept = Checkpoint(
        checkpoint, {"perturber": perturber, "discriminator": discriminator, "attacks": attacks, "tells": tells}
    )
    done = kept.resume()
    named = target.classes(to_planes(images)) if done < epochs else torch.empty(0)
    steps = len(images) // BATCH
    for epoch in range(done, epochs):
        random = np.random.default_rng((seed, epoch))
        for step, rows in enumerate(batches(len(images), BATCH, random)):
            real = to_planes(images[rows])
            moved = perturber(real)
            judge(discriminator, tells, 2 * real - 1, 2 * moved.detach() - 1)
            said = discriminator(2 * moved - 1)
            loss = (
                adversarial_loss(target(moved), named[rows])
                + GAN_WEIGHT * nn.functional.binary_cross_entropy_with_logits(said, torch.ones_like(said))
                + NORM_WEIGHT * torch.relu((moved - real).flatten(1).norm(dim=1) - allowed).mean()
            )
            attacks.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            attacks.step()
            show(epoch * steps + step + 1, epochs * steps, loss.item())
        kept.save(epoch + 1)
    return perturber.eval()


def adversarial_loss(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """How far the logit of the class to leave exceeds the largest other one (Carlini and Wagner, IEEE S&P 2017).

    Args:
        logits: [N, classes].
        classes: to leave, int64 [N].
    """
    own = logits.gather(1, classes[:, None])
    others = logits.scatter(1, classes[:, None], float("-inf")).amax(dim=1, keepdim=True)
    return torch.relu(own - others + 1).mean()


@torch.no_grad()
def attack(perturber: Perturber, model: nn.Module, normalisation: Normalisation, images: Images) -> Attacked:
    """Attack a model; a benchmark scores only the examples that succeeded.

    Args:
        perturber: trained against the model.
        model: as it was trained against.
        normalisation: of the model's input.
        images: uint8 [N, H, W] or [N, H, W, 3].
    """
    moved = torch.cat([perturber(chunk) for chunk in torch.split(to_planes(images), BATCH)])
    return judged(PixelModel(model, normalisation), images, moved)


def _convolution(channels_in: int, channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1),
        nn.InstanceNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


def _widening(channels_in: int, channels: int) -> list[nn.Module]:
    """To twice the side."""
    return [nn.ConvTranspose2d(channels_in, channels, 4, 2, 1), nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]

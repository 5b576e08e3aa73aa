"""The outliers of each model. Nothing of them reaches a fit: they are made and read after everything is learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.detection.subjects import Pixels
from bench.detection.torch_graph import GraphModule
from bench.outliers.advgan import attack as advgan_attack
from bench.outliers.advgan import train_advgan
from bench.outliers.attacks import ATTACKS, attack
from bench.outliers.corruptions import CORRUPTIONS, SEVERITIES
from bench.outliers.gan import sample, train_gan
from bench.outliers.photographs import photographs
from driftprint_export.reference.coding import as_jpeg
from driftprint_export.reference.datasets import DataSet, Images, load
from driftprint_export.reference.training import Normalisation

Show = Callable[[str, int, int], None]
"""Told how far a training is: its name, the steps done, all steps."""

OTHERS = {"digits": (), "mnist": ("fashion_mnist",), "cifar10": ("svhn",), "svhn": ("cifar10",)}
"""The data sets that a model of one is shown as outliers."""


@dataclass(frozen=True)
class Effort:
    """How much of everything.

    Attributes:
        test: inliers, and outliers of each kind, at most.
        corrupted: inliers to corrupt, at most.
        attacked: pictures to attack, at most; of the slow attacks a fifth.
        trains: whether to train a DCGAN and an AdvGAN, which takes most of the time.
        severities: of the corruptions.
    """

    test: int
    corrupted: int
    attacked: int
    trains: bool
    severities: tuple[int, ...]


FULL = Effort(test=2000, corrupted=500, attacked=300, trains=True, severities=SEVERITIES)
SMALL = Effort(test=500, corrupted=500, attacked=100, trains=False, severities=(1, 3, 5))

TRAINED_ON = ("mnist", "cifar10")
"""The data sets whose models meet a DCGAN and an AdvGAN."""

GAN_EPOCHS = 5
ADVGAN_IMAGES, ADVGAN_EPOCHS = 5_000, 4

SLOW = ("deepfool", "cw")


@dataclass(frozen=True)
class Outliers:
    """One kind.

    Attributes:
        kind: the family, such as "attack".
        name: such as "fgsm".
        pixels: uint8, or float32 where they must not be rounded.
        note: for the table, such as how many attacks succeeded.
    """

    kind: str
    name: str
    pixels: Pixels
    note: str = ""


def outliers_of(
    name_of_model: str,
    data: DataSet,
    fresh: Images,
    model: GraphModule,
    normalisation: Normalisation,
    *,
    effort: Effort,
    folder: Path | None,
    work: Path,
    show: Show,
) -> Iterator[Outliers]:
    """Every kind of outlier for one model, made one after the other.

    Args:
        name_of_model: in the names of checkpoints.
        data: what the model was trained on.
        fresh: inliers to corrupt and attack, which nothing was learnt from.
        model: to attack.
        normalisation: of its input.
        effort: how much of everything.
        folder: of the data sets; see `driftprint_export.reference.datasets.load`.
        work: the folder of the trainings' checkpoints.
        show: told how the trainings go.
    """
    for name in OTHERS[data.name]:
        other = load(name, folder=folder)
        yield Outliers("data set", name, other.x_test[: effort.test])
    if fresh.ndim == 3:
        pieces = photographs(effort.test, fresh.shape[1], np.random.default_rng(0))
        yield Outliers("data set", "photographs", pieces)
    for name, corrupt in CORRUPTIONS.items():
        for severity in effort.severities:
            worse = corrupt(fresh[: effort.corrupted], severity, np.random.default_rng(severity))
            yield Outliers("corruption", f"{name} {severity}", as_jpeg(worse))
    for name in ATTACKS:
        count = effort.attacked // 5 if name in SLOW else effort.attacked
        random = np.random.default_rng(0)
        made = attack(name, model, normalisation, fresh[:count], classes=10, random=random)
        yield Outliers("attack", name, made.pixels[made.succeeded], _success(made.succeeded))
    if effort.trains and data.name in TRAINED_ON:
        generator = train_gan(
            data.x_train,
            seed=0,
            epochs=GAN_EPOCHS,
            checkpoint=work / f"gan-{data.name}.pt",
            show=lambda done, steps, _: show(f"DCGAN on {data.name}", done, steps),
        )
        yield Outliers("generated", "dcgan", as_jpeg(sample(generator, effort.test, seed=1)))
        perturber = train_advgan(
            model,
            normalisation,
            data.x_train[data.some(ADVGAN_IMAGES, np.random.default_rng(0))],
            seed=0,
            epochs=ADVGAN_EPOCHS,
            checkpoint=work / f"advgan-{name_of_model}.pt",
            show=lambda done, steps, _: show(f"AdvGAN on {name_of_model}", done, steps),
        )
        made = advgan_attack(perturber, model, normalisation, fresh[: effort.attacked])
        yield Outliers("attack", "advgan", made.pixels[made.succeeded], _success(made.succeeded))


def _success(succeeded: NDArray[np.bool_]) -> str:
    return f"{succeeded.mean():.0%} of {len(succeeded)} succeeded"

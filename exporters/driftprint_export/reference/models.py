"""The reference models: which net, on which data, trained how."""

from __future__ import annotations

from dataclasses import dataclass, replace

from driftprint.manifest import Colour
from driftprint_export.reference.nets import DigitResNet, FastResNet, SmallResNet, SmallViT
from driftprint_export.reference.training import Normalisation, Recipe

_DIGITS = tuple(str(digit) for digit in range(10))
_OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR10 = Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_SVHN = Normalisation((0.4524, 0.4525, 0.4690), (0.2194, 0.2267, 0.2285))
_MNIST = Normalisation((0.1307,), (0.3081,))


@dataclass(frozen=True)
class ReferenceModel:
    """One of them.

    Attributes:
        data: the data set's name; see `driftprint_export.reference.datasets`.
        description: one line for people.
        labels: the classes.
        normalisation: of the pixels.
        recipe: how it is trained.
        trained_as: the name of the model whose training it shares; None for one of its own.
        int8: whether it is quantised to 8 bits after its training.
    """

    data: str
    description: str
    labels: tuple[str, ...]
    normalisation: Normalisation
    recipe: Recipe
    trained_as: str | None = None
    int8: bool = False

    @property
    def colour(self) -> Colour:
        """What the model takes."""
        return Colour.GREY if len(self.normalisation.mean) == 1 else Colour.RGB


MODELS = {
    "mnist": ReferenceModel(
        "mnist",
        "handwritten digits: a small residual net trained on MNIST",
        _DIGITS,
        _MNIST,
        Recipe(DigitResNet, epochs=4, batch=128, shift=2),
    ),
    "cifar10": ReferenceModel(
        "cifar10",
        "ten kinds of objects: a wide residual net trained on CIFAR-10",
        _OBJECTS,
        _CIFAR10,
        Recipe(FastResNet, epochs=24, flip=True, shift=3, cutout=8),
    ),
    "cifar10-small": ReferenceModel(
        "cifar10",
        "ten kinds of objects: a thin residual net of 20 layers trained on CIFAR-10, for small devices",
        _OBJECTS,
        _CIFAR10,
        Recipe(SmallResNet, epochs=16, batch=128, flip=True, shift=3),
    ),
    "cifar10-vit": ReferenceModel(
        "cifar10",
        "ten kinds of objects: a small vision transformer trained on CIFAR-10",
        _OBJECTS,
        _CIFAR10,
        Recipe(SmallViT, epochs=16, batch=128, learning_rate=1e-3, weight_decay=0.05, flip=True, shift=3, adam=True),
    ),
    "svhn": ReferenceModel(
        "svhn",
        "house numbers: a wide residual net trained on 7,000 crops of SVHN's test split",
        _DIGITS,
        _SVHN,
        Recipe(FastResNet, epochs=20, batch=128, shift=3),
    ),
}
"""Every reference model by its name."""

_SMALL = MODELS["cifar10-small"]
MODELS["cifar10-small-int8"] = replace(
    _SMALL, description=f"{_SMALL.description}, in 8 bits", trained_as="cifar10-small", int8=True
)

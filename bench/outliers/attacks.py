"""Adversarial examples by the adversarial-robustness-toolbox (Nicolae et al., arXiv 1807.01069).

They are untargeted, and made against what the model itself says of a picture, be that right or wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.outliers.pixels import Attacked, Bound, Images, PixelModel, bound_of, judged, to_planes
from driftprint_export.reference.training import Normalisation

BATCH = 100

MakeAttack = Callable[[Any, Bound], Any]
"""Of ART's classifier and what is allowed, makes ART's attack. The toolbox takes seconds to import."""


def fgsm(classifier: Any, bound: Bound) -> Any:
    """One step along the sign of the gradient (Goodfellow, Shlens, Szegedy, ICLR 2015)."""
    from art.attacks.evasion import FastGradientMethod

    return FastGradientMethod(classifier, eps=bound.eps, batch_size=BATCH)


def bim(classifier: Any, bound: Bound) -> Any:
    """Several such steps from the picture (Kurakin, Goodfellow, Bengio, ICLR 2017 workshop)."""
    from art.attacks.evasion import BasicIterativeMethod

    return BasicIterativeMethod(
        classifier, eps=bound.eps, eps_step=bound.step, max_iter=bound.steps, batch_size=BATCH, verbose=False
    )


def pgd(classifier: Any, bound: Bound) -> Any:
    """Several such steps from a random place near the picture (Madry et al., ICLR 2018)."""
    from art.attacks.evasion import ProjectedGradientDescent

    return ProjectedGradientDescent(
        classifier,
        eps=bound.eps,
        eps_step=bound.step,
        max_iter=bound.steps,
        num_random_init=1,
        batch_size=BATCH,
        verbose=False,
    )


def deepfool(classifier: Any, _bound: Bound) -> Any:
    """The shortest way to a linear boundary, repeated (Moosavi-Dezfooli, Fawzi, Frossard, CVPR 2016).

    The overshoot is the paper's 0.02: ART's own, a millionth, leaves most examples on the near side. ART applies it
    after the last step alone, so what has come to the boundary goes on stepping; ten steps, not 50, get there.
    """
    from art.attacks.evasion import DeepFool

    return DeepFool(classifier, max_iter=10, epsilon=0.02, batch_size=BATCH, verbose=False)


def cw(classifier: Any, _bound: Bound) -> Any:
    """The smallest Euclidean change that an optimiser finds (Carlini and Wagner, IEEE S&P 2017), confidence 0."""
    from art.attacks.evasion import CarliniL2Method

    return CarliniL2Method(
        classifier,
        confidence=0.0,
        learning_rate=0.01,
        binary_search_steps=3,
        initial_const=0.1,
        max_iter=10,
        max_halving=4,
        max_doubling=3,
        batch_size=BATCH,
        verbose=False,
    )


ATTACKS: dict[str, MakeAttack] = {"fgsm": fgsm, "bim": bim, "pgd": pgd, "deepfool": deepfool, "cw": cw}
"""Every attack by its name."""


def attack(
    name: str,
    model: nn.Module,
    normalisation: Normalisation,
    images: Images,
    *,
    classes: int,
    random: np.random.Generator,
) -> Attacked:
    """Attack a model; a benchmark scores only the examples that succeeded.

    Args:
        name: one of `ATTACKS`. All but `deepfool` and `cw` stay within `bound_of(images)`.
        model: takes normalised pictures, gives logits; it is not changed.
        normalisation: of its input.
        images: uint8 [N, H, W] or [N, H, W, 3].
        classes: how many the model knows.
        random: where PGD starts.
    """
    target = PixelModel(model, normalisation)
    planes = to_planes(images)
    classifier = _classifier(target, tuple(planes.shape[1:]), classes)
    with _numpy_seeded(random):
        adversarial = ATTACKS[name](classifier, bound_of(images)).generate(planes.numpy())
    return judged(target, images, torch.from_numpy(adversarial))


def _classifier(target: PixelModel, shape: tuple[int, ...], classes: int) -> Any:
    """The model as ART takes it."""
    from art.estimators.classification import PyTorchClassifier

    class Classifier(PyTorchClassifier):  # type: ignore[misc]
        """Takes one pass back for a class a picture, where ART's own takes one for each class among them."""

        def class_gradient(
            self, x: NDArray[np.float32], label: Any = None, training_mode: bool = False, **arguments: Any
        ) -> Any:
            if not isinstance(label, np.ndarray):
                return super().class_gradient(x, label, training_mode, **arguments)
            pixels = torch.from_numpy(x).requires_grad_()
            own = target(pixels).gather(1, torch.from_numpy(label)[:, None]).sum()
            return torch.autograd.grad(own, pixels)[0].numpy()[:, None]

    return Classifier(
        target,
        loss=nn.CrossEntropyLoss(),
        input_shape=shape,
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


@contextmanager
def _numpy_seeded(random: np.random.Generator) -> Iterator[None]:
    """ART draws from NumPy's global generator: seed it, and leave it afterwards as it was."""
    before = np.random.get_state()
    np.random.seed(int(random.integers(2**32)))
    try:
        yield
    finally:
        np.random.set_state(before)

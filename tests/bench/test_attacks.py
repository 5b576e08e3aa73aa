"""Adversarial examples against small trained nets: by ART, and by AdvGAN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.outliers import advgan
from bench.outliers.advgan import Perturber, adversarial_loss, train_advgan
from bench.outliers.attacks import ATTACKS, attack
from bench.outliers.pixels import Attacked, bound_of
from driftprint_export.reference.training import predict
from tests.bench.conftest import Known

FLOORS = {"fgsm": 0.3, "bim": 0.5, "pgd": 0.5, "deepfool": 0.9, "cw": 0.9}
"""Shares of examples that must succeed."""


def run(name: str, known: Known, seed: int = 0) -> Attacked:
    random = np.random.default_rng(seed)
    return attack(name, known.model, known.normalisation, known.images, classes=known.classes, random=random)


def named(known: Known, pixels: NDArray[np.float32]) -> NDArray[np.int64]:
    """What the model says of pixels, on a way of its own."""
    planes = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    mean, std = (np.reshape(v, (1, -1, 1, 1)) for v in (known.normalisation.mean, known.normalisation.std))
    with torch.no_grad():
        classes: NDArray[np.int64] = known.model(torch.tensor((planes / 255 - mean) / std).float()).argmax(1).numpy()
    return classes


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_changes_what_the_model_says(name: str, known: Known) -> None:
    before = {key: value.clone() for key, value in known.model.state_dict().items()}
    images = known.images.copy()
    attacked = run(name, known)

    assert attacked.pixels.shape == known.images.shape
    assert attacked.pixels.dtype == np.float32
    assert 0 <= attacked.pixels.min() <= attacked.pixels.max() <= 255
    said = predict(known.model, known.images, known.normalisation)
    np.testing.assert_array_equal(attacked.succeeded, named(known, attacked.pixels) != said)
    assert attacked.succeeded.mean() >= FLOORS[name]
    if name not in ("deepfool", "cw"):
        assert np.abs(attacked.pixels - images).max() <= 255 * bound_of(images).eps + 1e-3

    np.testing.assert_array_equal(known.images, images)
    assert not known.model.training
    assert all(parameter.requires_grad for parameter in known.model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in known.model.state_dict().items())


def test_only_pgd_starts_at_a_random_place(known: Known) -> None:
    np.testing.assert_array_equal(run("pgd", known).pixels, run("pgd", known).pixels)
    assert np.any(run("pgd", known).pixels != run("pgd", known, seed=1).pixels)
    np.testing.assert_array_equal(run("bim", known).pixels, run("bim", known, seed=1).pixels)


def test_an_attack_leaves_numpys_global_generator_alone(known: Known) -> None:
    before = np.random.get_state()
    run("pgd", known)
    after = np.random.get_state()
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2] == after[2]


def test_the_smallest_changes_are_smaller_than_the_bounded_ones(known: Known) -> None:
    def length(name: str) -> float:
        attacked = run(name, known)
        change = (attacked.pixels - known.images)[attacked.succeeded]
        return float(np.sqrt(np.square(change).reshape(len(change), -1).sum(axis=1)).mean())

    bounded = length("fgsm")
    assert length("deepfool") < bounded
    assert length("cw") < bounded


def test_the_adversarial_loss_is_nought_once_another_class_leads_by_one() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    classes = torch.tensor([0, 0, 2])
    assert adversarial_loss(logits[:1], classes[:1]).item() == 3.0
    assert adversarial_loss(logits[1:2], classes[1:2]).item() == 0.0
    assert adversarial_loss(logits[2:], classes[2:]).item() == 1.0


def learn(known: Known, images: NDArray[np.uint8], epochs: int, checkpoint: Path) -> Perturber:
    return train_advgan(
        known.model,
        known.normalisation,
        images,
        seed=0,
        epochs=epochs,
        checkpoint=checkpoint,
        show=lambda _step, _steps, _loss: None,
    )


def test_advgan_learns_to_attack_and_can_be_interrupted(
    known: Known, grey: NDArray[np.uint8], colour: NDArray[np.uint8], tmp_path: Path
) -> None:
    images = (grey if known.images.ndim == 3 else colour)[:256]

    def attacked_after(epochs: int, checkpoint: str) -> Attacked:
        perturber = learn(known, images, epochs, tmp_path / checkpoint)
        return advgan.attack(perturber, known.model, known.normalisation, known.images)

    attacked_after(1, "interrupted.pt")
    resumed, whole = attacked_after(2, "interrupted.pt"), attacked_after(2, "whole.pt")
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)

    attacked = attacked_after(5, "whole.pt")
    assert attacked.pixels.shape == known.images.shape
    assert attacked.pixels.dtype == np.float32
    assert 0 <= attacked.pixels.min() <= attacked.pixels.max() <= 255
    assert np.abs(attacked.pixels - known.images).max() <= 255 * bound_of(images).eps + 1e-3
    said = predict(known.model, known.images, known.normalisation)
    np.testing.assert_array_equal(attacked.succeeded, named(known, attacked.pixels) != said)
    assert attacked.succeeded.mean() >= 0.5

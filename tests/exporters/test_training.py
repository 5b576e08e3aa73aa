"""The reference models' training: goes on where it was interrupted, and does what its recipe says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from driftprint_export.reference.models import MODELS
from driftprint_export.reference.muon import Muon, orthogonal
from driftprint_export.reference.nets import DigitResNet, FastResNet, Whitening
from driftprint_export.reference.training import Normalisation, Recipe, Trained, augment, predict, train
from driftprint_export.torch_source import trace_module
from tests.exporters.models import stripes

IMAGES, LABELS = stripes(256)
NORMAL = Normalisation((0.5,), (0.25,))
RECIPE = Recipe(lambda: DigitResNet((4, 8, 8), classes=3), epochs=3, batch=32, shift=1)


class PulledPlugError(Exception):
    """Somebody pulled the plug."""


def run(checkpoint: Path, *, recipe: Recipe = RECIPE, stop_after: int = 10**6, seed: int = 0) -> Trained:
    def show(done: int, _steps: int, _loss: float) -> None:
        if done == stop_after:
            raise PulledPlugError

    return train(recipe, IMAGES, LABELS.astype(np.uint8), NORMAL, seed=seed, checkpoint=checkpoint, show=show)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()


@pytest.mark.parametrize("adam", [False, True])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(adam: bool, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, adam=adam, learning_rate=0.01 if adam else 0.1)
    whole = run(tmp_path / "whole.pt", recipe=recipe)
    with pytest.raises(PulledPlugError):
        run(tmp_path / "cut.pt", recipe=recipe, stop_after=12)  # in the second of three epochs of eight steps
    cut = run(tmp_path / "cut.pt", recipe=recipe)
    for name, value in weights(whole).items():
        assert torch.allclose(value.float(), weights(cut)[name].float(), atol=1e-6), name


def test_a_trained_net_is_exported_with_a_free_batch_axis(tmp_path: Path) -> None:
    """Training keeps weights channels last, which must not show."""
    trained = run(tmp_path / "net.pt")
    assert trace_module(trained.model, np.zeros((1, 1, 16, 16), np.float32), "net").input.batched


def test_the_seed_decides_the_training(tmp_path: Path) -> None:
    one, same, other = (run(tmp_path / f"{name}.pt", seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert all(torch.equal(value, weights(same)[name]) for name, value in weights(one).items())
    assert not all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def test_it_learns(tmp_path: Path) -> None:
    trained = run(tmp_path / "net.pt", recipe=dataclasses.replace(RECIPE, epochs=6))
    fresh, kinds = stripes(200, seed=1)
    assert (predict(trained.model, fresh, NORMAL) == kinds).mean() > 0.9
    assert trained.seconds > 0


def test_muon_evens_out_the_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6), (8, 8)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.max() < 1.4
        assert values.median() > 0.4


def test_muon_keeps_filters_at_one_length() -> None:
    torch.manual_seed(0)
    filters = nn.Parameter(5 * torch.randn(16, 4, 3, 3))
    optimiser = Muon([filters], lr=0.01)
    for _ in range(3):
        filters.grad = torch.randn_like(filters)
        optimiser.step()
    assert filters.norm().item() == pytest.approx(4, rel=0.05)


def test_the_whitening_layer_gives_patches_of_unit_variance() -> None:
    torch.manual_seed(0)
    images = torch.cumsum(torch.randn(200, 3, 12, 12), dim=-1)
    layer = Whitening()
    layer.fit(images)
    layer.bias.data.zero_()
    out = layer(images).transpose(0, 1).flatten(1)
    assert torch.allclose(out.var(dim=1), torch.ones(24), rtol=0.1, atol=0.05)
    covariance = torch.cov(out[:12])
    assert (covariance - torch.diag(covariance.diag())).abs().max() < 0.05
    assert torch.allclose(out[:12], -out[12:], atol=1e-5)
    assert not layer.weight.requires_grad


def test_a_trained_net_has_its_whitening_fitted(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 3), np.uint8)
    recipe = Recipe(lambda: FastResNet((4, 4, 4), classes=2), epochs=1, batch=32)
    normal = Normalisation((0.5,) * 3, (0.25,) * 3)
    labels = np.arange(64, dtype=np.uint8) % 2
    trained = train(recipe, images, labels, normal, seed=0, checkpoint=tmp_path / "net.pt", show=lambda *_: None)
    layer = next(module for module in trained.model.modules() if isinstance(module, Whitening))
    assert torch.allclose(layer.weight[:12], -layer.weight[12:])


def test_images_are_moved_and_mirrored_but_keep_their_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    before = images.copy()
    changed = augment(images, dataclasses.replace(RECIPE, flip=True, shift=0), np.random.default_rng(0))
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(changed, images, strict=True)]
    assert 10 < sum(mirrored) < 40
    moved = augment(images, dataclasses.replace(RECIPE, shift=2), np.random.default_rng(0))
    assert moved.shape == images.shape
    assert set(np.unique(moved)) <= set(np.unique(images))
    assert np.array_equal(images, before)


def test_every_reference_models_net_gives_its_classes() -> None:
    for name, model in MODELS.items():
        side = 28 if name == "mnist" else 32
        frames = torch.zeros(2, len(model.normalisation.mean), side, side)
        assert model.recipe.net().eval()(frames).shape == (2, len(model.labels)), name

"""The generator of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.outliers.gan import Discriminator, Generator, halvings, sample, train_gan


def train(images: NDArray[np.uint8], epochs: int, checkpoint: Path, *, seed: int = 0) -> tuple[Generator, list[int]]:
    steps: list[int] = []
    generator = train_gan(
        images,
        seed=seed,
        epochs=epochs,
        checkpoint=checkpoint,
        show=lambda step, _steps, _loss: steps.append(step),
        width=8,
    )
    return generator, steps


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_samples_are_pictures_like_those_it_was_trained_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    images: NDArray[np.uint8] = request.getfixturevalue(kind)
    generator, steps = train(images, 1, tmp_path / "gan.pt")
    assert steps == [1, 2, 3, 4]
    made = sample(generator, 70, seed=3)
    assert made.shape == (70, *images.shape[1:])
    assert made.dtype == np.uint8
    assert len(np.unique(made.reshape(70, -1), axis=0)) == 70
    np.testing.assert_array_equal(made, sample(generator, 70, seed=3))
    assert np.any(made != sample(generator, 70, seed=4))


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(grey: NDArray[np.uint8], tmp_path: Path) -> None:
    train(grey, 1, tmp_path / "interrupted.pt")
    torch.rand(5)
    resumed, steps = train(grey, 3, tmp_path / "interrupted.pt")
    whole, _ = train(grey, 3, tmp_path / "whole.pt")
    assert steps == [5, 6, 7, 8, 9, 10, 11, 12]
    np.testing.assert_array_equal(sample(resumed, 20, seed=0), sample(whole, 20, seed=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["interrupted.pt", "whole.pt"]


def test_a_finished_training_is_only_read(grey: NDArray[np.uint8], tmp_path: Path) -> None:
    first, _ = train(grey, 1, tmp_path / "gan.pt")
    second, steps = train(grey, 1, tmp_path / "gan.pt")
    assert not steps
    np.testing.assert_array_equal(sample(first, 5, seed=0), sample(second, 5, seed=0))


def test_training_depends_on_its_seed_and_leaves_torchs_alone(grey: NDArray[np.uint8], tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    first, _ = train(grey, 1, tmp_path / "first.pt")
    second, _ = train(grey, 1, tmp_path / "second.pt", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.any(sample(first, 5, seed=0) != sample(second, 5, seed=0))


def test_training_moves_the_samples_towards_the_pictures(grey: NDArray[np.uint8], tmp_path: Path) -> None:
    early, _ = train(grey, 1, tmp_path / "gan.pt")
    late, _ = train(grey, 20, tmp_path / "gan.pt")

    def roughness(pictures: NDArray[np.uint8]) -> float:
        return float(pictures.std(axis=(1, 2)).mean())

    wanted = roughness(grey)
    assert abs(roughness(sample(late, 50, seed=0)) - wanted) < 0.8 * abs(roughness(sample(early, 50, seed=0)) - wanted)


@pytest.mark.parametrize(("side", "start", "doublings"), [(28, 7, 2), (32, 4, 3), (16, 4, 2)])
def test_nets_fit_the_side_of_the_pictures(side: int, start: int, doublings: int) -> None:
    assert halvings(side) == (doublings, start)
    made = Generator((3, side), 4)(torch.zeros(2, 64))
    assert made.shape == (2, 3, side, side)
    assert Discriminator((3, side), 4)(made).shape == (2, 1)

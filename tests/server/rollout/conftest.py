"""Fixtures of rollouts' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.rollout.fleets import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def ten(scene: Scene) -> Scene:
    """Ten devices that run the first version, each with a million frames behind it."""
    scene.fleet.add(*(f"pi-{number}" for number in range(10)))
    return scene

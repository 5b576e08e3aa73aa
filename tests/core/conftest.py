from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import make_bundle


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A valid bundle in a folder, which a test may damage."""
    return make_bundle(tmp_path / "toy-1.driftprint")


@pytest.fixture(scope="session")
def intact_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid bundle in a folder, which tests only read."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "toy-1.driftprint")

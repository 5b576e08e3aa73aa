"""A training's state in a file, and its order of the images: an interrupted training goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """All that is to be kept of it."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Become what was kept."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """All that a training must keep between epochs.

    Attributes:
        path: the file.
        parts: by their names.
    """

    path: Path
    parts: Mapping[str, Stateful]

    def resume(self) -> int:
        """Load the parts where there is a file; returns the epochs that were done."""
        if not self.path.exists():
            return 0
        saved = torch.load(self.path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        return int(saved["epochs"])

    def save(self, epochs: int) -> None:
        """Keep the parts and how many epochs are done."""
        save_whole(self.path, {**{name: part.state_dict() for name, part in self.parts.items()}, "epochs": epochs})


def save_whole(path: Path, state: dict[str, Any]) -> None:
    """Write a file that `torch.load` reads; the old one is replaced only once the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def batches(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The rows of each whole batch, in random order."""
    order = random.permutation(count)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]

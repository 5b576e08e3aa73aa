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

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


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
        """Replace the file only once the new one is whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        torch.save({**{name: part.state_dict() for name, part in self.parts.items()}, "epochs": epochs}, part)
        part.replace(self.path)


def batches(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The rows of each whole batch, in random order."""
    order = random.permutation(count)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]

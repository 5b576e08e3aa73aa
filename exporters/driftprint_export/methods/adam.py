"""Adam, the optimiser (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Adam:
    """Adam, with the constants of its paper.

    Args:
        values: what to optimise.
        rate: the step's size.
    """

    def __init__(self, values: Sequence[NDArray[np.float32]], rate: float) -> None:
        self.values = list(values)
        self._rate = rate
        self._steps = 0
        self._first = [np.zeros_like(value) for value in values]
        self._second = [np.zeros_like(value) for value in values]

    def step(self, gradients: Sequence[NDArray[np.float32]]) -> None:
        """Move the values against their gradients."""
        self._steps += 1
        first, second = 1 - 0.9**self._steps, 1 - 0.999**self._steps
        for i, gradient in enumerate(gradients):
            self._first[i] += np.float32(0.1) * (gradient - self._first[i])
            self._second[i] += np.float32(0.001) * (np.square(gradient) - self._second[i])
            size = np.sqrt(self._second[i] / np.float32(second)) + np.float32(1e-8)
            self.values[i] = self.values[i] - np.float32(self._rate / first) * self._first[i] / size

"""Muon: an optimiser for the filters of convolutions, for trainings that must be short.

Each step goes along the momentum with its singular values all brought near one (Jordan et al., "Muon: an optimizer
for hidden layers in neural networks", kellerjordan.github.io/posts/muon, 2024), and filters keep a norm of one,
so that the learning rate is the angle by which they turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class Muon(torch.optim.Optimizer):
    """For weights of two axes and more; those after the first are taken as one.

    Args:
        filters: the weights.
        lr: learning rate: about the angle of a step, in radians.
        momentum: share of the last step's direction that is kept.
    """

    def __init__(self, filters: Iterable[nn.Parameter], lr: float, momentum: float = 0.6) -> None:
        super().__init__(filters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Turn every filter."""
        if closure is not None:
            raise NotImplementedError("a closure is for optimisers that search along a line")
        for group in self.param_groups:
            for weights in group["params"]:
                state = self.state[weights]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weights)
                state["momentum"].mul_(group["momentum"]).add_(weights.grad)
                direction = weights.grad.add(state["momentum"], alpha=group["momentum"])
                weights.mul_(len(weights) ** 0.5 / weights.norm())
                weights.add_(orthogonal(direction.flatten(1)).view(weights.shape), alpha=-group["lr"])


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix with the same singular vectors and singular values between about 0.7 and 1.2.

    Three rounds of the quintic Newton-Schulz iteration with Muon's coefficients.
    """
    x = matrix / (matrix.norm() + 1e-7)
    wide: torch.Tensor = x if len(x) <= x.shape[1] else x.T
    for _ in range(3):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if len(x) <= x.shape[1] else wide.T

"""How small a change of a layer still tells something."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftprint_export.methods.gaussian import SMALLEST_DEVIATION


def smallest_deviation(x: NDArray[Any]) -> float:
    """The deviation of a channel below which all is rounding, which differs between devices; more than nought.

    Args:
        x: a layer's vectors of inliers, [N, C].
    """
    size = float(np.sqrt(np.square(x, dtype=np.float64).mean()))
    return max(SMALLEST_DEVIATION * size, 1e-15)

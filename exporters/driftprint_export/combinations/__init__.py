"""The ways to make one score of all that is known of a frame. A new one is a file here and a line in `COMBINATIONS`."""

from collections.abc import Callable

from driftprint.errors import ConfigError
from driftprint_export.combinations.base import Combination, Evidence, EvidenceTensors, FittedCombination
from driftprint_export.combinations.joint import Joint
from driftprint_export.combinations.pvalues import Fisher, Harmonic, Smallest
from driftprint_export.methods import Method

COMBINATIONS: dict[str, Callable[[], Combination]] = {
    combination.name: combination for combination in (Joint, Fisher, Harmonic, Smallest)
}
"""Every combination by its name."""

DEFAULT_COMBINATION = Joint.name


def combination_for(method: Method, name: str | None) -> Combination:
    """The combination of that name, or without one the default for a method.

    Raises:
        ConfigError: where they do not go together.
    """
    if name is None:
        name = Fisher.name if method.last_layer_only else DEFAULT_COMBINATION
    if method.last_layer_only and name == Joint.name:
        raise ConfigError(
            f"the method {method.name} says one thing of a frame, and there is nothing to join",
            where="--combine",
            fix="leave it out",
        )
    return COMBINATIONS[name]()


__all__ = [
    "COMBINATIONS",
    "DEFAULT_COMBINATION",
    "Combination",
    "Evidence",
    "EvidenceTensors",
    "FittedCombination",
    "combination_for",
]

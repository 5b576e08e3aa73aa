"""The fingerprint methods. A new one is a file here and a line in `METHODS`."""

from collections.abc import Callable

from driftprint_export.methods.base import Classes, Features, FittedMethod, Method
from driftprint_export.methods.gaussian import Gaussian

METHODS: dict[str, Callable[[], Method]] = {Gaussian.name: Gaussian}
"""Every method by its name."""

DEFAULT_METHOD = Gaussian.name

__all__ = ["DEFAULT_METHOD", "METHODS", "Classes", "Features", "FittedMethod", "Method"]

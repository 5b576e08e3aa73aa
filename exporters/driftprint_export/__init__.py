"""From a trained model and inlier data to a bundle."""

import driftprint  # noqa: F401 - before onnxruntime, whose telemetry it turns off

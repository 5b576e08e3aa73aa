"""From scores to decisions: p-values, windows, and the detector with a guaranteed run length."""

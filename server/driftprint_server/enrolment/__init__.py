"""Which devices are taken in: all, those of a list, or whom an operator has approved."""

"""Who may see the fleet, and who may act on it."""

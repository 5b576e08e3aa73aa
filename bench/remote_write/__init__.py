"""How many samples a second replicas write."""

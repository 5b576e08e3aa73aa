"""What watching a model costs: inference with the fingerprint against without, and the agent's loop around it."""

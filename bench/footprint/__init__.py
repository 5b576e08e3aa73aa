"""What the agent takes of a device beside the model: memory, and time to start."""

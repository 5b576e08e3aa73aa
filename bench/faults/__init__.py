"""What the agent, the broker and the disk may suffer, and what is lost by it."""

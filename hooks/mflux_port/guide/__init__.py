"""What to do next with a port: one action at every point."""

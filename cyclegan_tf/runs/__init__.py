"""A run's directory: its checkpoints, its lock, its event files."""

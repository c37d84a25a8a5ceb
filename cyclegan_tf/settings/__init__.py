"""What can be set: the settings of every program and model, their flags, and what is refused."""

"""What can be set: the settings of training and of each model, their flags, and what is refused."""

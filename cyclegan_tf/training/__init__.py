"""The training of a model: sessions, steps, when what is due."""

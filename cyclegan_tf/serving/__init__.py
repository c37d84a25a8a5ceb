"""Exported models: SavedModels, what they are made of, and files for other runtimes."""

"""SavedModels and what they are made of."""

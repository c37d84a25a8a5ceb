"""The same mathematics as plain layers, cheaper."""

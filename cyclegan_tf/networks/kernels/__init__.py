"""The mathematics of the plain layers, computed with less time or memory."""

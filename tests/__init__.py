"""The tests, which mirror the package; helpers/ holds what they share."""

"""Measuring how good translations are."""

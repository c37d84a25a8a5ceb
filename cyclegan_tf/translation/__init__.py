"""Translating images with a trained run."""

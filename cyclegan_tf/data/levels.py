"""Conversions between whole levels of 8 or 16 bits and floats in [-1, 1]."""

from __future__ import annotations

import numpy as np


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 or uint16 0..65535 -> float32 in [-1, 1]."""
    max_level = np.iinfo(images.dtype).max
    return (2 * images.astype(np.float32) - max_level) / np.float32(max_level)


def to_levels(images: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float in [-1, 1] -> uint8 0..255 or uint16 0..65535, rounded; values outside of [-1, 1] are clipped.

    Departs from the reference: it truncates, which darkens every image by half a level.
    """
    max_level = np.iinfo(dtype).max
    return np.clip(np.round((np.asarray(images, np.float32) + 1) * (max_level / 2)), 0, max_level).astype(dtype)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """to_levels for 8 bits."""
    return to_levels(images, np.uint8)

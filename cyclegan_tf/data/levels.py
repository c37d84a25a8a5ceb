"""Conversions between levels of 8 or 16 bits, or values in a range, and floats in [-1, 1]."""

from __future__ import annotations

import numpy as np


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 or uint16 0..65535 -> float32 in [-1, 1]; float32 in [-1, 1] is returned as it is."""
    if images.dtype == np.float32:
        return images
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


def holds(dtype: np.dtype, value_range: tuple[float, float]) -> bool:
    """Whether a type can store the numbers of a range; integers only if the range has as many steps as 8 bits."""
    low, high = value_range
    kind = np.dtype(dtype).kind
    if kind not in 'iuf' or (kind != 'f' and high - low < 255):
        return False
    limits = np.finfo(dtype) if kind == 'f' else np.iinfo(dtype)
    return limits.min <= low and high <= limits.max


def values_to_float(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Numbers of any type -> float32 in [-1, 1]: a range's low end becomes -1, its high end 1, the rest is clipped."""
    low, high = value_range
    # Small integers are exact in float32; the formula is to_float's, and gives the same bits for the same range.
    exact = np.float32 if values.dtype.itemsize <= 2 else np.float64
    scaled = (2 * values.astype(exact) - exact(low + high)) / exact(high - low)
    return np.clip(scaled, -1, 1).astype(np.float32)


def float_to_values(images: np.ndarray, value_range: tuple[float, float], dtype: np.dtype) -> np.ndarray:
    """float in [-1, 1] -> numbers of a range, clipped to it; of an integer type they are rounded."""
    low, high = value_range
    values = np.clip((np.asarray(images, np.float64) + 1) * ((high - low) / 2) + low, low, high)
    return (np.round(values) if np.dtype(dtype).kind in 'iu' else values).astype(dtype)

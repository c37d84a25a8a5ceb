"""Measures of images against images."""

from __future__ import annotations

import numpy as np


def psnr(x: np.ndarray, y: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two images.

    Args:
        x, y: uint8 [h, w, c], of the same shape.

    Returns:
        Decibels, 10 log10(255^2 / mean squared error); infinite for equal images.
    """
    if x.shape != y.shape:
        raise ValueError(f'`x` {x.shape} and `y` {y.shape} differ in shape; resize one.')
    error = np.mean(np.square(x.astype(np.float64) - y.astype(np.float64)))
    return float('inf') if error == 0 else float(10 * np.log10(255**2 / error))

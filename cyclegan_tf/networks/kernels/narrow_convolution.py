"""Convolutions to a few channels, computed for four columns at a time.

A CPU's convolutions fill vectors of 16 with output channels; three leave most of one empty. Four columns of three
channels fill it, at the cost of a kernel that is three columns wider.
"""

from __future__ import annotations

import tensorflow as tf

from cyclegan_tf.networks.shapes import sides

_COLUMNS = 4  # computed at once; measured against 2 and 8


def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d(x, kernel, 1, 'VALID') for results whose width is a multiple of 4, and its gradients.

    Args:
        x: float [b, h, w, c], where w - k + 1 is a multiple of 4.
        kernel: [k, k, c, filters], of the dtype of x.

    Returns:
        [b, h - k + 1, w - k + 1, filters], of the dtype of x.
    """
    filters = kernel.shape[3]
    # [k, k, c, f] -> [k, k+3, c, 4, f]: for each of four columns the kernel at its place
    shifted = [tf.pad(kernel, [[0, 0], [i, _COLUMNS - 1 - i], [0, 0], [0, 0]]) for i in range(_COLUMNS)]
    height, width, channels, _ = shifted[0].shape
    kernel = tf.reshape(tf.stack(shifted, axis=3), [height, width, channels, _COLUMNS * filters])
    y = tf.nn.conv2d(x, kernel, [1, 1, _COLUMNS, 1], 'VALID')  # [b, h', w'/4, 4*filters]
    b, h, w, _ = sides(y)
    return tf.reshape(y, [b, h, w * _COLUMNS, filters])

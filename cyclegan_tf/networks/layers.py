"""Padding, activation and dropout, as in PyTorch."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from cyclegan_tf.networks import test_time
from cyclegan_tf.ops import random

LEAKY_SLOPE = 0.2  # as in the reference


# ---------------------------------------------------------------------------------------------------------- padding
def pad_zero(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], with zeros around the image."""
    return tf.pad(x, [[0, 0], [width, width], [width, width], [0, 0]])


def pad_reflect(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], mirrored without repeating the border.

    Sides must exceed `width`, as for torch.nn.ReflectionPad2d.
    """
    return tf.pad(x, [[0, 0], [width, width], [width, width], [0, 0]], mode='REFLECT')


def pad_replicate(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], the border repeated (torch.nn.ReplicationPad2d)."""
    # Symmetric padding of width 1 repeats the border pixel; tf.pad has no mode that repeats it for any width.
    for _ in range(width):
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode='SYMMETRIC')
    return x


PADDINGS = {'reflect': pad_reflect, 'replicate': pad_replicate, 'zero': pad_zero}


# ------------------------------------------------------------------------------------------- activation and dropout
def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """x where it is positive, 0.2 x elsewhere."""
    if x.dtype == tf.float64:
        return tf.where(x > 0, x, LEAKY_SLOPE * x)  # TensorFlow's operation holds the slope in float32
    return tf.nn.leaky_relu(x, LEAKY_SLOPE)


def apply_dropout(x: tf.Tensor, rate: float, training: bool, seed: Optional[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """`dropout` in training; outside it, what the network is told: see test_time.TestTime."""
    how = test_time.active()
    if how is not None:
        return how.dropout(x, rate, index)
    return dropout(x, rate, seed, index) if training else x


def dropout(x: tf.Tensor, rate: float, seed: Optional[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """Stateless dropout, since Keras's layer has a random state that no checkpoint holds.

    Args:
        x: float [b, h, w, c].
        rate: share of the values that are set to 0; the others are divided by 1 - rate.
        seed: int [b, 2], a seed for each image, different in every call of the network. The result for an image does
            not depend on the other images of its batch.
        index: int, number of this dropout layer in the network; each layer uses different random numbers.
    """
    if seed is None:
        raise ValueError('`seed` (None) is needed to train a network with dropout; pass integers of shape [b, 2].')
    numbers = [random.integers(tf.shape(x)[1:], random.fold(of_image, index), 2**24) for of_image in tf.unstack(seed)]
    return tf.where(tf.stack(numbers) < int(rate * 2**24), tf.zeros_like(x), x / (1 - rate))

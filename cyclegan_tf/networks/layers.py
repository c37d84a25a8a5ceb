"""Precision, padding, initialisation, activation and dropout, as PyTorch has them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.ops import random

LEAKY_SLOPE = 0.2  # the reference's


# A function that graphs call rather than write out. It keeps graphs small where the same is done dozens of times; it
# begins when its arguments are there, while steps of its own would begin as soon as they can, and keep their results.
noinline_function = functools.partial(tf.function, autograph=False, experimental_attributes={'_noinline': True})


# -------------------------------------------------------------------------------------------------------- precision
PRECISIONS = ('float32', 'bfloat16', 'float16')


@contextlib.contextmanager
def computed_in(precision: str) -> Iterator[None]:
    """Layers made meanwhile compute in this precision; their weights are float32.

    Norms take their statistics in float32 all the same, and networks make their results float32.

    Raises:
        UserError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision '{precision}' is not one of: {', '.join(PRECISIONS)}.")
    before = tf.keras.mixed_precision.global_policy()
    if precision != 'float32':
        tf.keras.mixed_precision.set_global_policy(f'mixed_{precision}')
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def full_precision(x: tf.Tensor) -> tf.Tensor:
    """Float32 of a tensor in half precision, which does not hold a sum over all pixels; others as they are."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.bfloat16, tf.float16) else x


def build(network: tf.keras.Model, shape: Sequence[int]) -> None:
    """Gives a network its weights: images [b, h, w, c] of this shape pass through.

    Keras's own build would trace the network and have AutoGraph rewrite it, which takes three times as long.
    """
    network(tf.zeros(shape, tf.keras.backend.floatx()))


def sides(x: tf.Tensor) -> list:
    """The length of each axis: a Python integer where it is known, so that what follows from it is a constant."""
    if x.shape.is_fully_defined():
        return x.shape.as_list()
    return [known if known is not None else size for known, size in zip(x.shape, tf.unstack(tf.shape(x)))]


# ---------------------------------------------------------------------------------------------------------- padding
def pad_zero(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], zeros around."""
    return tf.pad(x, [[0, 0], [width, width], [width, width], [0, 0]])


def pad_reflect(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], mirrored without repeating the border.

    Sides must exceed `width`, as for torch.nn.ReflectionPad2d.
    """
    return tf.pad(x, [[0, 0], [width, width], [width, width], [0, 0]], mode='REFLECT')


def pad_replicate(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], the border repeated (torch.nn.ReplicationPad2d)."""
    # A symmetric pad of one repeats the border pixel; tf.pad has no mode that does it for any width.
    for _ in range(width):
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode='SYMMETRIC')
    return x


PADDINGS = {'reflect': pad_reflect, 'replicate': pad_replicate, 'zero': pad_zero}


# --------------------------------------------------------------------------------------------------- initialisation
class Initializers:
    """Hands each layer of one network its own initializer, all derived from one seed.

    Args:
        init_type: 'normal', 'xavier', 'kaiming' or 'orthogonal' (the reference's init_net).
        init_gain: the standard deviation of 'normal', the gain of 'xavier' and 'orthogonal'; 'kaiming' ignores it.
        seed: None, or an integer that fixes every weight of the network.
    """

    TYPES = ('normal', 'xavier', 'kaiming', 'orthogonal')

    def __init__(self, init_type: str, init_gain: float, seed: Optional[int]):
        if init_type not in self.TYPES:
            raise UserError(f"init_type '{init_type}' is not one of: {', '.join(self.TYPES)}.")
        self._init_type = init_type
        self._init_gain = init_gain
        self._seeds = np.random.default_rng(seed)

    def _next_seed(self) -> int:
        return int(self._seeds.integers(2**31))

    def kernel(self) -> tf.keras.initializers.Initializer:
        """For the kernel of a (transposed) convolution. Fans are PyTorch's: kernel area times channels."""
        seed = self._next_seed()
        if self._init_type == 'normal':
            return tf.keras.initializers.RandomNormal(0.0, self._init_gain, seed)
        if self._init_type == 'orthogonal':
            return tf.keras.initializers.Orthogonal(self._init_gain, seed)
        # PyTorch's normal is not cut at two deviations, Keras's GlorotNormal and HeNormal are.
        scale, mode = (self._init_gain**2, 'fan_avg') if self._init_type == 'xavier' else (2.0, 'fan_in')
        return tf.keras.initializers.VarianceScaling(scale, mode, 'untruncated_normal', seed)

    def norm_scale(self) -> tf.keras.initializers.Initializer:
        """For batch norm's scale: N(1, init_gain), whatever the init_type (the reference's init_func)."""
        return tf.keras.initializers.RandomNormal(1.0, self._init_gain, self._next_seed())


# ------------------------------------------------------------------------------------------- activation and dropout
def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """x, and 0.2 x below zero."""
    if x.dtype == tf.float64:
        return tf.where(x > 0, x, LEAKY_SLOPE * x)  # TensorFlow's operation holds the slope in float32
    return tf.nn.leaky_relu(x, LEAKY_SLOPE)


def dropout(x: tf.Tensor, rate: float, seed: Optional[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """Stateless dropout, since Keras's layer has a random state that no checkpoint holds.

    Args:
        x: float [b, h, w, c].
        rate: the share of values that become 0; the others are divided by 1 - rate.
        seed: int [b, 2], one for each image, others for every call of the network; so that it makes no difference
            which images are in a batch together.
        index: int, which dropout of the network this is; each draws other numbers.
    """
    if seed is None:
        raise ValueError('`seed` (None) is needed to train a network with dropout; pass integers of shape [b, 2].')
    numbers = [random.integers(tf.shape(x)[1:], random.fold(of_image, index), 2**24) for of_image in tf.unstack(seed)]
    return tf.where(tf.stack(numbers) < int(rate * 2**24), tf.zeros_like(x), x / (1 - rate))

"""The augmentation of training images, compiled by XLA: random crop, random flip, a policy, scaling to [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Optional

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:  # KerasCV takes seconds to import, so only runs with a policy import it
    from cyclegan_tf.data.policies import Policy

NUMBERS = 3  # random integers per image: top of the crop, left of the crop, flip; those of a policy follow
_GROUP = 16  # images whose random integers are generated together


def random_integers(seed: tf.Tensor, first: tf.Tensor, count: int, columns: int) -> tf.Tensor:
    """Random integers for the images at positions first, first + 1, ... of the stream.

    The integers of a position depend on the seed and the position alone, not on where one begins or how many one asks
    for. They are integers because floats from the same seed differ between XLA and plain execution.

    Args:
        seed: int64 scalar.
        first: int64 scalar.
        count, columns: number of positions, and of integers for each position.

    Returns:
        int32 [count, columns] in [0, 2**24).
    """
    group = first // _GROUP
    # Enough groups for `count` positions, wherever they begin within the first group.
    groups = [group + i for i in range((count - 1) // _GROUP + 1 + (count > 1))]
    numbers = [tf.random.stateless_uniform([_GROUP, columns], tf.stack([seed, g]), 0, 2**24, tf.int32) for g in groups]
    begin = tf.cast(first % _GROUP, tf.int32)
    return tf.ensure_shape(tf.concat(numbers, axis=0)[begin : begin + count], [count, columns])


def make_augment(
    crop_size: Optional[int], flip: bool, policy: Optional[Policy], jit_compile: bool
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The augmentation of one domain.

    Args:
        crop_size: side of the square crop; None: no crop.
        flip: flip half of the images left to right, at random.
        policy: further changes; None: none. A policy that XLA cannot compile runs outside of XLA.
        jit_compile: compile with XLA; meant for images of a single size, since it compiles again for every other size.

    Returns:
        A function of images, uint8, uint16 or float32 in [-1, 1], [batch, h, w, c], and random integers, int32
        [batch, n] in [0, 2**24) with n = NUMBERS + policy.num_random. It returns float32 [batch, h', w', c] in [-1, 1].
    """
    if policy is None:
        return tf.function(
            lambda x, numbers: _to_unit(_crop_and_flip(x, numbers, crop_size, flip)),
            jit_compile=jit_compile,
            autograph=False,
        )
    crop = lambda x, numbers: _to_levels(_crop_and_flip(x, numbers, crop_size, flip))  # noqa: E731
    change = lambda x, numbers: (2 * policy(x, numbers[:, NUMBERS:]) - 255) / 255  # noqa: E731
    if policy.compiles:
        return tf.function(lambda x, numbers: change(crop(x, numbers), numbers), jit_compile=jit_compile)
    compiled_crop = tf.function(crop, jit_compile=jit_compile, autograph=False)
    return tf.function(lambda x, numbers: change(compiled_crop(x, numbers), numbers))


def _crop_and_flip(images: tf.Tensor, numbers: tf.Tensor, crop_size: Optional[int], flip: bool) -> tf.Tensor:
    """Crops, and flips left to right; the dtype stays."""
    height, width = tf.unstack(tf.shape(images)[1:3])
    # Gathering by computed indices compiles once; a slice would be compiled again for each offset.
    if crop_size is not None:
        tops = scale(numbers[:, 0], height - crop_size + 1)
        images = tf.gather(images, tops[:, None] + tf.range(crop_size), axis=1, batch_dims=1)  # [b, crop, w, c]
        lefts, width = scale(numbers[:, 1], width - crop_size + 1), tf.constant(crop_size)
    else:
        lefts = tf.zeros_like(numbers[:, 1])
    columns = tf.range(width)
    if flip:
        columns = tf.where(numbers[:, 2:3] < 2**23, width - 1 - columns, columns)  # [b, w']
    elif crop_size is None:
        return images
    return tf.gather(images, lefts[:, None] + tf.broadcast_to(columns, [tf.shape(images)[0], width]), axis=2,
                     batch_dims=1)  # fmt: skip


def scale(numbers: tf.Tensor, bound: tf.Tensor) -> tf.Tensor:
    """Integers in [0, 2**24) -> integers in [0, bound), int32."""
    return tf.cast(tf.cast(numbers, tf.int64) * tf.cast(bound, tf.int64) // 2**24, tf.int32)


def _to_unit(images: tf.Tensor) -> tf.Tensor:
    """Levels to float32 in [-1, 1], equal to levels.to_float up to the last bit.

    It multiplies, since a product is the same everywhere: XLA and TensorFlow's graph optimizer turn a division by a
    constant into a product, and plain execution does not. It does not compute x / 127.5 - 1, which exceeds 1 under XLA.
    Floats in [-1, 1] stay as they are.
    """
    if images.dtype == tf.float32:
        return images
    max_level = float(np.iinfo(images.dtype.as_numpy_dtype).max)
    return (2 * tf.cast(images, tf.float32) - max_level) * np.float32(1 / max_level)


def _to_levels(images: tf.Tensor) -> tf.Tensor:
    """Levels, or floats in [-1, 1], to float32 in [0, 255]; 16-bit levels become fractions."""
    if images.dtype == tf.float32:
        return (images + 1) * 127.5
    return tf.cast(images, tf.float32) / (np.iinfo(images.dtype.as_numpy_dtype).max / 255)

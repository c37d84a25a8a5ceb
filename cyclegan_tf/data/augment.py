"""The XLA-compiled augmentation: random crop, random flip, a policy, to [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Optional

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:  # KerasCV takes seconds to import, which only runs with a policy should pay for
    from cyclegan_tf.data.policies import Policy

NUMBERS = 3  # integers for each image: crop's top, crop's left, flip; a policy's follow
_UNIT = 16  # images whose numbers are computed at once


def random_integers(seed: tf.Tensor, first: tf.Tensor, count: int, columns: int) -> tf.Tensor:
    """Random numbers for the images at positions first, first + 1, ... of the stream.

    A position's numbers depend on the seed and the position alone, not on where one begins or how many one asks for.
    They are integers: the floats of one seed differ between XLA and plain execution.

    Args:
        seed: int64, scalar.
        first: int64, scalar.
        count, columns: how many positions, and numbers for each.

    Returns:
        int32 [count, columns] in [0, 2**24).
    """
    unit = first // _UNIT
    # So many units hold `count` positions wherever they begin.
    units = [unit + i for i in range((count - 1) // _UNIT + 1 + (count > 1))]
    drawn = [tf.random.stateless_uniform([_UNIT, columns], tf.stack([seed, u]), 0, 2**24, tf.int32) for u in units]
    begin = tf.cast(first % _UNIT, tf.int32)
    return tf.ensure_shape(tf.concat(drawn, axis=0)[begin : begin + count], [count, columns])


def make_augment(
    crop_size: Optional[int], flip: bool, policy: Optional[Policy], jit_compile: bool
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The augmentation of one domain.

    Args:
        crop_size: side of the square that is cut; None cuts nothing.
        flip: flip half of the images left to right.
        policy: what else is done; None: nothing. One that XLA does not compile runs outside it.
        jit_compile: compile with XLA; only where all images have one size, since it compiles anew for each.

    Returns:
        A function of images, uint8 or uint16 [batch, h, w, c], and numbers, int32 [batch, n] in [0, 2**24) with
        NUMBERS + policy.num_random columns, to float32 [batch, h', w', c] in [-1, 1].
    """
    if policy is None:
        return tf.function(
            lambda x, numbers: _to_unit(_cut(x, numbers, crop_size, flip)), jit_compile=jit_compile, autograph=False
        )
    cut = lambda x, numbers: _to_levels(_cut(x, numbers, crop_size, flip))  # noqa: E731
    change = lambda x, numbers: (2 * policy(x, numbers[:, NUMBERS:]) - 255) / 255  # noqa: E731
    if policy.compiles:
        return tf.function(lambda x, numbers: change(cut(x, numbers), numbers), jit_compile=jit_compile)
    compiled = tf.function(cut, jit_compile=jit_compile, autograph=False)
    return tf.function(lambda x, numbers: change(compiled(x, numbers), numbers))


def _cut(images: tf.Tensor, numbers: tf.Tensor, crop_size: Optional[int], flip: bool) -> tf.Tensor:
    """Crops and flips left to right; the dtype stays."""
    height, width = tf.unstack(tf.shape(images)[1:3])
    # Gathering by computed indices compiles once; a slice with an offset would compile anew for each offset.
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
    """To [-1, 1] as levels.to_float, up to its last bit; x / 127.5 - 1 exceeds 1 under XLA.

    XLA and TensorFlow's graph optimizer make a product of a division by a constant, and plain execution does not; a
    product is the same everywhere.
    """
    max_level = float(np.iinfo(images.dtype.as_numpy_dtype).max)
    return (2 * tf.cast(images, tf.float32) - max_level) * np.float32(1 / max_level)


def _to_levels(images: tf.Tensor) -> tf.Tensor:
    """To float32 in [0, 255], in fractions where there are 16 bits."""
    return tf.cast(images, tf.float32) / (np.iinfo(images.dtype.as_numpy_dtype).max / 255)

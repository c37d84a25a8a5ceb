"""The XLA-compiled augmentation: random crop, random flip, to [-1, 1]."""

from __future__ import annotations

import tensorflow as tf


def draw(batch_size: int, slack: int, flip: bool, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The numbers that augment one batch.

    They are drawn outside XLA and as integers: the floats of one seed differ between XLA and plain execution.

    Args:
        batch_size: images.
        slack: load size less crop size, pixels.
        flip: whether images are flipped at all.
        seed: integers [2].

    Returns:
        tops, lefts: int32 [batch_size] in 0 .. slack; flips: int32 [batch_size], 0 or 1.
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)
    tops, lefts = (tf.random.stateless_uniform([batch_size], seeds[i], 0, slack + 1, tf.int32) for i in range(2))
    flips = tf.random.stateless_uniform([batch_size], seeds[2], 0, 2 if flip else 1, tf.int32)
    return tops, lefts, flips


@tf.function(jit_compile=True)
def augment(images: tf.Tensor, tops: tf.Tensor, lefts: tf.Tensor, flips: tf.Tensor, crop_size: int) -> tf.Tensor:
    """Crops, flips left to right, and scales.

    Args:
        images: uint8 [batch, h, w, c].
        tops, lefts: int32 [batch], the crop's first row and column.
        flips: int32 [batch], 1 to flip.
        crop_size: side of the crop, a Python integer.

    Returns:
        float32 [batch, crop_size, crop_size, c] in [-1, 1].
    """
    # Gathering by computed indices compiles once; a slice with an offset would compile anew for each offset.
    steps = tf.range(crop_size)
    rows = tops[:, None] + steps  # [b, crop]
    columns = lefts[:, None] + tf.where(flips[:, None] == 1, crop_size - 1 - steps, steps)  # [b, crop]
    images = tf.gather(images, rows, axis=1, batch_dims=1)  # [b, crop, w, c]
    images = tf.gather(images, columns, axis=2, batch_dims=1)  # [b, crop, crop, c]
    return (2 * tf.cast(images, tf.float32) - 255) / 255  # as preprocess.to_float; x / 127.5 - 1 exceeds 1 under XLA

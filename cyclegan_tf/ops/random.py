"""Random integers from seeds, the same compiled by XLA or not.

tf.random's are not, for all seeds: XLA uses their lower halves only, and takes negative ones for others (seen in
TensorFlow 2.15 and 2.21). These are what tf.random draws without XLA. Integers, since floats are made from the same
bits in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

import tensorflow as tf

_PHILOX = 1  # tf.random.Algorithm.PHILOX
# What TensorFlow's StatelessRandomGetKeyCounter mixes seeds with, as one number of 64 bits.
_KEY = 0x02461E29_3EC8F720


def integers(shape: Union[Sequence[int], tf.Tensor], seed: tf.Tensor, below: Optional[int] = None) -> tf.Tensor:
    """tf.random.stateless_uniform(shape, seed, 0, below, tf.int32).

    Args:
        shape: of the result.
        seed: int32 or int64 [2].
        below: the numbers are from 0 to below - 1; None: all of int32.
    """
    seed = tf.bitcast(tf.cast(seed, tf.int64), tf.uint64)
    mixed = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[2], key=tf.constant([_KEY], tf.uint64), counter=seed, alg=_PHILOX, dtype=tf.uint64
    )
    drawn = dict(shape=shape, key=mixed[:1], counter=tf.stack([tf.zeros_like(mixed[1]), mixed[1]]), alg=_PHILOX)
    if below is None:
        return tf.raw_ops.StatelessRandomUniformFullIntV2(**drawn, dtype=tf.int32)
    return tf.raw_ops.StatelessRandomUniformIntV2(**drawn, minval=tf.constant(0), maxval=tf.constant(below))


def fold(seed: tf.Tensor, number: Union[int, tf.Tensor]) -> tf.Tensor:
    """tf.random.experimental.stateless_fold_in: another seed, int32 [2], for each int32 number."""
    return tf.stack([integers([], seed), tf.convert_to_tensor(number, tf.int32)])


def split(seed: tf.Tensor, count: int) -> tf.Tensor:
    """tf.random.experimental.stateless_split of an int32 seed: int32 [count, 2]."""
    return integers([count, 2], seed)

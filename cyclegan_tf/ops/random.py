"""Random integers from seeds, the same compiled by XLA or not.

tf.random gives other integers under XLA for some seeds: XLA uses only their lower halves, and treats negative ones
differently (seen in TensorFlow 2.15 and 2.21). The functions here give what tf.random gives without XLA. They give
integers, since XLA makes floats from the same bits in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

import tensorflow as tf

_PHILOX = 1  # tf.random.Algorithm.PHILOX
# The 64-bit constant with which TensorFlow's StatelessRandomGetKeyCounter mixes seeds.
_KEY = 0x02461E29_3EC8F720


def integers(shape: Union[Sequence[int], tf.Tensor], seed: tf.Tensor, below: Optional[int] = None) -> tf.Tensor:
    """The result of tf.random.stateless_uniform(shape, seed, 0, below, tf.int32).

    Args:
        shape: of the result.
        seed: int32 or int64 [2].
        below: the integers are from 0 to below - 1; None: from all of int32.
    """
    seed = tf.bitcast(tf.cast(seed, tf.int64), tf.uint64)
    mixed = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[2], key=tf.constant([_KEY], tf.uint64), counter=seed, alg=_PHILOX, dtype=tf.uint64
    )
    arguments = dict(shape=shape, key=mixed[:1], counter=tf.stack([tf.zeros_like(mixed[1]), mixed[1]]), alg=_PHILOX)
    if below is None:
        return tf.raw_ops.StatelessRandomUniformFullIntV2(**arguments, dtype=tf.int32)
    return tf.raw_ops.StatelessRandomUniformIntV2(**arguments, minval=tf.constant(0), maxval=tf.constant(below))


def fold(seed: tf.Tensor, number: Union[int, tf.Tensor]) -> tf.Tensor:
    """The result of tf.random.experimental.stateless_fold_in: another seed, int32 [2], for each int32 number."""
    return tf.stack([integers([], seed), tf.convert_to_tensor(number, tf.int32)])


def split(seed: tf.Tensor, count: int) -> tf.Tensor:
    """The result of tf.random.experimental.stateless_split for an int32 seed: int32 [count, 2]."""
    return integers([count, 2], seed)


# --------------------------------------------------------------------------- integers at places, whatever else is asked
def of_layer(seeds: tf.Tensor, index: int) -> tf.Tensor:
    """Other seeds, int32 [n, 2], for the layer with this index."""
    seeds = tf.bitcast(tf.cast(seeds, tf.int32), tf.uint32)
    first = _mix(seeds[:, 0] ^ _mix(tf.constant(index, tf.uint32)))
    return tf.bitcast(tf.stack([first, seeds[:, 1]], axis=1), tf.int32)


def at_places(seeds: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, channels: int) -> tf.Tensor:
    """Random integers for the places of feature maps. Each depends on its seed and its place alone, not on which other
    places there are, so that a part of a map gets what the complete one has there.

    Args:
        seeds: int32 [n, 2].
        rows: int32 [h].
        columns: int32 [w].
        channels: number of channels.

    Returns:
        int32 [n, h, w, channels] in [0, 2**24).
    """
    seeds = tf.bitcast(tf.cast(seeds, tf.int32), tf.uint32)
    state = _mix(_mix(seeds[:, 0]) ^ seeds[:, 1])
    for places in (rows, columns, tf.range(channels)):
        state = _mix(state[..., None] ^ _mix(tf.bitcast(places, tf.uint32) + tf.constant(0x9E3779B9, tf.uint32)))
    return tf.bitcast(tf.bitwise.right_shift(state, tf.constant(8, tf.uint32)), tf.int32)


def _mix(x: tf.Tensor) -> tf.Tensor:
    """A permutation of uint32 that changes about half of the bits when one bit of x changes: lowbias32 of Wellons 2018
    (https://nullprogram.com/blog/2018/07/31/)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32))) * tf.constant(factor, tf.uint32)
    return x ^ tf.bitwise.right_shift(x, tf.constant(16, tf.uint32))

"""The unpaired stream: (real_a, real_b) for every step, a function of (seed, step) alone."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cyclegan_tf.data.augment import augment, draw
from cyclegan_tf.data.preprocess import ImageTable

# What the draws are for; each folds another number into the seed.
_ORDER, _PARTNER, _AUGMENT_A, _AUGMENT_B = range(4)


def epoch_images(table_a: ImageTable, table_b: ImageTable) -> int:
    """Images per domain in an epoch: as many as the larger domain has."""
    return max(len(table_a), len(table_b))


def steps_per_epoch(table_a: ImageTable, table_b: ImageTable, batch_size: int) -> int:
    """Steps in an epoch, the last one filled from the next epoch's images."""
    return -(-epoch_images(table_a, table_b) // batch_size)


def unpaired_stream(
    table_a: ImageTable,
    table_b: ImageTable,
    batch_size: int,
    crop_size: int,
    seed: int,
    start_step: int = 0,
    serial_batches: bool = False,
    flip: bool = True,
) -> tf.data.Dataset:
    """Endless batches for the steps start_step, start_step + 1, ...

    Nothing is replayed: starting late costs the same as starting at 0 and gives the same batches. The stream runs on
    across epochs; each is a shuffled pass over the larger domain. Partners are drawn at random from B (A is taken
    modulo its size), or with serial_batches both are taken in order.

    Args:
        table_a, table_b: the images.
        batch_size: images per domain, over all devices.
        crop_size: side of the random crop.
        seed: another seed gives another order, partners, crops and flips.
        start_step: the first step.
        serial_batches: in order, without drawing partners.
        flip: flip half of the images left to right.

    Returns:
        A data set of (real_a, real_b), float32 [batch_size, crop_size, crop_size, c] in [-1, 1].
    """
    images = epoch_images(table_a, table_b)

    def choose(step):
        position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        index, epoch = position % images, position // images
        if serial_batches:
            return step, index % len(table_a), index % len(table_b)
        # A permutation computed index by index, without a buffer. One call for each image: the form for vectors
        # fails on seeds of several rows.
        last = tf.constant(images - 1, tf.int64)
        shuffle = tf.random.experimental.index_shuffle
        index = tf.stack([shuffle(index[i], [_number(seed, _ORDER), epoch[i]], last) for i in range(batch_size)])
        partner = tf.random.stateless_uniform(
            [batch_size], [_number(seed, _PARTNER), step], 0, len(table_b), dtype=tf.int64
        )
        return step, index % len(table_a), partner

    def read(step, index_a, index_b):
        a = tf.numpy_function(table_a.rows, [index_a], tf.uint8)
        b = tf.numpy_function(table_b.rows, [index_b], tf.uint8)
        return step, tf.ensure_shape(a, [batch_size, *table_a.shape]), tf.ensure_shape(b, [batch_size, *table_b.shape])

    def change(step, a, b):
        results = []
        for images_of_one, use in ((a, _AUGMENT_A), (b, _AUGMENT_B)):
            slack = images_of_one.shape[1] - crop_size
            numbers = draw(batch_size, slack, flip, tf.stack([_number(seed, use), step]))
            results.append(augment(images_of_one, *numbers, crop_size))
        return tuple(results)

    stream = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)
    stream = stream.map(choose).map(read, num_parallel_calls=2).map(change, num_parallel_calls=2)
    return stream.prefetch(2)


def _number(seed: int, use: int) -> tf.Tensor:
    """One int64 of seed and use, different for all."""
    return tf.constant(seed * 4 + use, tf.int64)

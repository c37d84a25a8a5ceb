"""Dropout depends on nothing but its seed."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import layers


def test_dropout_zeroes_half_and_doubles_the_rest():
    result = layers.dropout(tf.ones([1, 100, 100, 1]), 0.5, tf.constant([[1, 2]]), 0).numpy()
    assert set(np.unique(result)) == {0.0, 2.0} and result.mean() == pytest.approx(1, abs=0.05)


def test_dropout_of_an_image_does_not_depend_on_the_others_of_the_batch():
    images, seeds = tf.random.stateless_uniform([3, 8, 8, 2], [1, 2], 1, 2), tf.constant([[1, 2], [3, 4], [5, 6]])
    together = layers.dropout(images, 0.5, seeds, 1).numpy()
    for i in range(3):
        np.testing.assert_array_equal(together[i], layers.dropout(images[i : i + 1], 0.5, seeds[i : i + 1], 1)[0])
    assert not np.array_equal(together[0] == 0, together[1] == 0)

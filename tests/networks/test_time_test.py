"""Outside training as pix2pix's authors do it: each image's own statistics, and dropout that depends on names alone."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import make_generator, test_time
from cyclegan_tf.networks.norms import BatchNorm, frozen_statistics


def told(size, padded, batch_statistics=True, seeds=None, origin=(0, 0)):
    return test_time.told(
        test_time.TestTime(tf.constant(size), tf.constant(padded), batch_statistics, seeds, tf.constant(origin))
    )


def batch_norm(channels):
    norm = BatchNorm(tf.keras.initializers.RandomNormal(1.0, 0.5, 1))
    norm(tf.zeros([1, 1, 1, channels]))
    norm.running_mean.assign(tf.random.stateless_normal([channels], [0, 0]))
    norm.running_variance.assign(tf.random.stateless_uniform([channels], [0, 1]) + 0.5)
    return norm


def test_statistics_are_each_images_own_without_padding():
    norm, x = batch_norm(3), tf.random.stateless_normal([2, 8, 12, 3], [1, 2]) + 4
    with told((16, 20), (32, 48)):  # of the maps, a quarter as large, four rows and five columns are the image
        found = norm(x)
    own = x[:, :4, :5]
    mean, variance = (tf.reduce_mean(own, [1, 2], keepdims=True), tf.math.reduce_variance(own, [1, 2], keepdims=True))
    expected = (x - mean) / tf.sqrt(variance + 1e-5) * norm.scale + norm.offset
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with told((16, 20), (32, 48), batch_statistics=False):
        running = norm(x)
    np.testing.assert_array_equal(running, norm(x))
    assert not np.allclose(running, found, atol=0.1)


def test_statistics_can_stay_as_they_are_in_training():
    norm, x = batch_norm(3), tf.random.stateless_normal([2, 8, 12, 3], [1, 2])
    before = [v.numpy() for v in (norm.running_mean, norm.running_variance)]
    with frozen_statistics():
        frozen = norm(x, training=True)
    assert all(np.array_equal(old, new) for old, new in zip(before, (norm.running_mean, norm.running_variance)))
    np.testing.assert_array_equal(norm(x, training=True), frozen)
    assert not np.array_equal(before[0], norm.running_mean)


def test_dropout_of_a_part_is_the_complete_ones():
    seeds, x = tf.constant([[1, 2], [1, 3]]), tf.ones([2, 24, 32, 8])
    with told((96, 128), (96, 128), seeds=seeds):
        everything = test_time.active().dropout(x, 0.5, 5)
        other_layer = test_time.active().dropout(x, 0.5, 6)
    assert set(np.unique(everything)) == {0, 2} and 0.48 < np.mean(everything == 0) < 0.52
    with told((40, 64), (40, 64), seeds=seeds[1:], origin=(16, 32)):
        part = test_time.active().dropout(x[1:, :10, :16], 0.5, 5)
    np.testing.assert_array_equal(part[0], everything[1, 4:14, 8:24])
    assert 0.4 < np.mean(everything[0] == everything[1]) < 0.6 > np.mean(everything == other_layer) > 0.4


@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_generators_drop_out_where_they_are_told_to(name):
    generator = make_generator(name, filters=4, norm='batch', use_dropout=True, seed=1, init_gain=0.3)
    x = tf.random.stateless_uniform([1, 128, 128, 3], [0, 1], -1, 1)
    found = []
    for seeds in (None, tf.constant([[1, 1]]), tf.constant([[1, 1]]), tf.constant([[1, 2]])):
        with told((128, 128), (128, 128), seeds=seeds):
            found.append(generator(x).numpy())
    assert np.array_equal(found[1], found[2])
    assert not np.allclose(found[0], found[1], atol=1e-3) and not np.allclose(found[1], found[3], atol=1e-3)
    assert test_time.active() is None
    assert not np.allclose(generator(x), found[0], atol=1e-3)  # the running statistics

"""Blurred halving and doubling: by hand, and compiled by XLA as without it; parity_test.py compares with PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks.antialias import Down, Up


def images(height, width, channels=2, dtype=np.float64):
    return tf.constant(np.random.default_rng(height * width).normal(size=(2, height, width, channels)).astype(dtype))


def mirrored(side):
    return np.pad(np.arange(side), 1, mode='reflect')


@pytest.mark.parametrize('size', [(8, 8), (7, 10), (2, 3)])
def test_halving_blurs_mirrors_and_takes_every_second_pixel(float64, size):
    x = images(*size)
    padded = x.numpy()[:, mirrored(size[0])][:, :, mirrored(size[1])]
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:])[:, ::2] / 4
    expected = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:])[:, :, ::2] / 4
    np.testing.assert_allclose(Down()(x), expected, rtol=0, atol=1e-12)
    assert expected.shape[1:3] == ((size[0] + 1) // 2, (size[1] + 1) // 2)


@pytest.mark.parametrize('size', [(5, 4), (1, 3)])
def test_doubling_weighs_three_to_one_and_repeats_the_border(float64, size):
    x = images(*size)
    expected = x.numpy()
    for axis in (1, 2):
        before, after = (np.take(expected, np.clip(np.arange(expected.shape[axis]) + step, 0, expected.shape[axis] - 1),
                                 axis) for step in (-1, 1))  # fmt: skip
        both = np.stack([(before + 3 * expected) / 4, (3 * expected + after) / 4], axis=axis + 1)
        expected = both.reshape([2 * side if i == axis else side for i, side in enumerate(expected.shape)])
    np.testing.assert_allclose(Up()(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('make', [Down, Up])
def test_sizes_that_are_not_known_and_half_precision(make):
    layer = make()
    layer.build([None, None, None, 3])
    call = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    for size in ((6, 8), (9, 5)):
        x = images(*size, 3, np.float32)
        np.testing.assert_allclose(call(x), layer(x), atol=1e-6)
        half = make(dtype='bfloat16')(tf.cast(x, tf.bfloat16))
        assert half.dtype == tf.bfloat16
        np.testing.assert_allclose(tf.cast(half, tf.float32), layer(x), atol=0.05)


@pytest.mark.own_process
@pytest.mark.parametrize('make', [Down, Up])
def test_xla_makes_no_difference(float64, make):
    layer, x = make(), images(6, 9)
    layer(x)

    def with_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            value = tf.reduce_sum(y**3)
        return y, tape.gradient(value, x)

    plain, compiled = (tf.function(with_gradient, jit_compile=on)(x) for on in (False, True))
    for one, other in zip(plain, compiled):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)

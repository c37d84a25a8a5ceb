"""Winograd's convolutions are TensorFlow's, with their gradients."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import convolutions, make_generator
from cyclegan_tf.networks.kernels import winograd
from tests.helpers.derivatives import with_gradients

CASES = [  # images with sides of whole tiles and of others, down to a lone result; channels in and out
    ((1, 18, 26, 8), 5),
    ((2, 9, 11, 3), 4),
    ((3, 3, 5, 2), 1),
    ((1, 3, 3, 1), 2),
]


def plain(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, 'VALID')


@pytest.mark.parametrize(
    'shape, filters, dtype, exact', [*((*case, 'float64', 1e-12) for case in CASES), (*CASES[0], 'float32', 3e-5)]
)
def test_it_convolves_as_tensorflow_does(shape, filters, dtype, exact):
    draws = np.random.default_rng(0)
    x = tf.constant(draws.normal(size=shape), dtype)
    kernel = tf.constant(draws.normal(size=(3, 3, shape[3], filters)), dtype)
    any_size = [tf.TensorSpec([None, None, None, shape[3]], dtype), tf.TensorSpec(kernel.shape, dtype)]
    expected = with_gradients(plain, x, kernel)
    for signature in (None, any_size):
        for result, right in zip(with_gradients(winograd.convolve, x, kernel, signature), expected):
            assert result.shape == right.shape
            np.testing.assert_allclose(result, right, rtol=0, atol=exact * np.abs(right).max())


def test_xla_compiles_it():
    draws = np.random.default_rng(0)
    x = tf.constant(draws.normal(size=(2, 9, 11, 3)), tf.float32)
    kernel = tf.constant(draws.normal(size=(3, 3, 3, 4)), tf.float32)
    found = with_gradients(winograd.convolve, x, kernel, jit_compile=True)
    for result, right in zip(found, with_gradients(plain, x, kernel)):
        np.testing.assert_allclose(result, right, rtol=0, atol=3e-5 * np.abs(right).max())


def test_its_result_has_a_known_shape():
    function = tf.function(lambda x, kernel: winograd.convolve(x, kernel), autograph=False)
    kernel = tf.TensorSpec([3, 3, 4, 6])
    for given, known in (([2, 10, 14, 4], [2, 8, 12, 6]), ([None, 10, None, 4], [None, 8, None, 6])):
        assert function.get_concrete_function(tf.TensorSpec(given), kernel).output_shapes.as_list() == known


def test_it_loses_little_in_float32():
    draws = np.random.default_rng(0)
    x, kernel = np.abs(draws.normal(size=(1, 34, 34, 128))), draws.normal(size=(3, 3, 128, 128))
    exact = plain(tf.constant(x), tf.constant(kernel)).numpy()
    x, kernel = (tf.constant(values, tf.float32) for values in (x, kernel))
    error, usual = (np.std(convolve(x, kernel) - exact) / exact.std() for convolve in (winograd.convolve, plain))
    # On a CPU with AVX2: error 1.0e-6, usual 0.2e-6, or 0.6e-6 with oneDNN (docs/performance.md has the figures too).
    assert usual < error < 8 * usual and error < 3e-6


@pytest.mark.parametrize(
    'side, filters, precision, used',
    [
        (96, 32, 'float32', True),
        (None, 32, 'float32', True),
        (64, 32, 'float32', False),
        (96, 16, 'float32', False),
        (96, 32, 'bfloat16', False),
    ],
)
def test_blocks_use_it_in_float32_from_some_size_on(side, filters, precision, used):
    network = make_generator('resnet_6blocks', filters=filters, precision=precision)
    x = tf.TensorSpec([1, side, side, 3])
    graph = tf.function(network, autograph=False).get_concrete_function(x).graph.as_graph_def()
    calls = [node for node in graph.node if node.op == 'PartitionedCall']
    assert len(calls) == (12 if used else 0)  # two to a block


def test_a_block_convolves_as_it_would_plainly(photographs):
    layer = convolutions.Conv3x3(128, kernel_initializer='he_normal')
    x = tf.constant(np.tile(photographs(2, 25, 34), (1, 1, 1, 43))[..., :128], tf.float32)
    results = [layer(x)]
    layer.bias.assign(tf.range(128.0))
    for layer.plain in (False, True):
        results.append(layer(x))
    scale = np.abs(results[1]).max()
    np.testing.assert_allclose(results[1], results[2], rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(results[1] - results[0], np.broadcast_to(np.arange(128), results[0].shape), atol=1e-4)

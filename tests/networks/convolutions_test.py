"""Convolutions pad as PyTorch does, whatever TensorFlow is asked to do about it."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import convolutions


@pytest.mark.parametrize('kernel, stride', [(3, 2), (4, 2), (4, 1)])
@pytest.mark.parametrize('height, width', [(8, 12), (9, 12), (8, 7)])
@pytest.mark.parametrize('known', [True, False])
def test_zeros_stand_around_the_image(kernel, stride, height, width, known):
    layer = convolutions.Conv(5, kernel, stride, 1)
    x = tf.random.stateless_normal([2, height, width, 3], [1, 2])
    layer(x)
    layer.bias.assign(tf.range(5.0))

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch([x, *layer.trainable_variables])
            y = layer(x)
            value = tf.reduce_sum(y**3)
        return [y, *tape.gradient(value, [x, *layer.trainable_variables])]

    def expected(x):
        with tf.GradientTape() as tape:
            tape.watch([x, *layer.trainable_variables])
            padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
            y = tf.nn.conv2d(padded, layer.kernel, stride, 'VALID') + layer.bias
            value = tf.reduce_sum(y**3)
        return [y, *tape.gradient(value, [x, *layer.trainable_variables])]

    sides = [height, width] if known else [None, None]
    function = tf.function(run, input_signature=[tf.TensorSpec([None, *sides, 3])], autograph=False)
    results, right = function(x), expected(x)
    assert results[0].shape[1] == (height + 2 - kernel) // stride + 1
    for one, other in zip(results, right):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize('side, pads', [(16, 0), (15, 1), (None, 1)])
def test_no_padded_copy_is_made_where_none_is_needed(side, pads):
    function = tf.function(convolutions.Conv(4, 4, 2, 1), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec([1, side, side, 3])).graph
    assert [op.type for op in graph.get_operations()].count('Pad') == pads

"""Convolutions pad as PyTorch does, whatever TensorFlow is asked to do, and keep all of a bias's gradient."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import convolutions, make_generator


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


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
@pytest.mark.parametrize('name, layer', [('resnet_6blocks', 'conv_out'), ('unet_128', 'ups')])
def test_the_last_bias_has_the_sum_of_all_pixels_gradients(name, layer, precision):
    network = make_generator(name, filters=4, norm='none', precision=precision)
    bias = tf.nest.flatten([getattr(network, layer)])[0].bias

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            y = network(x, training=True)
            loss = tf.reduce_mean(y)
        return tape.gradient(loss, bias), tf.reduce_mean(1 - y**2, [0, 1, 2]) / 3

    found, expected = gradient(tf.zeros([1, 128, 128, 3]))
    np.testing.assert_allclose(found, expected, rtol=0.02)

"""Convolutions pad as PyTorch does, whatever TensorFlow is asked to do, and keep all of a bias's gradient."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import convolutions, make_discriminator, make_generator
from cyclegan_tf.networks.precision import computed_in
from tests.helpers.derivatives import with_gradients


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


@pytest.mark.parametrize('kernel', [3, 4])
@pytest.mark.parametrize('shape', [(2, 6, 9, 4), (1, 1, 1, 2), (3, 5, 2, 1)])
def test_sides_are_doubled_as_pytorch_does(shape, kernel):
    """Without padding PyTorch's result has kernel - 2 more rows and columns; padding 1 cuts one on each side, and
    output_padding 1, where kernel is 3, leaves it at the end."""
    draws, filters = np.random.default_rng(0), 3
    x, weights = (tf.constant(draws.normal(size=size)) for size in (shape, (kernel, kernel, filters, shape[3])))
    tf.keras.backend.set_floatx('float64')
    try:
        layer = convolutions.UpConv(filters, kernel, use_bias=False)
        layer.build(shape)
    finally:
        tf.keras.backend.set_floatx('float32')

    def convolve(x, kernel):
        layer.kernel = kernel  # a tensor, of which gradients are asked for
        return layer.call(x)

    b, h, w, _ = shape

    def unpadded(x, kernel):
        more = kernel.shape[0] - 2
        y = tf.nn.conv2d_transpose(x, kernel, [b, 2 * h + more, 2 * w + more, filters], 2, 'VALID')
        return y[:, 1 : 2 * h + 1, 1 : 2 * w + 1]

    expected = with_gradients(unpadded, x, weights)
    any_size = [tf.TensorSpec([None, None, None, shape[3]], x.dtype), tf.TensorSpec(weights.shape, x.dtype)]
    for layer.plain, signature in ((False, None), (False, any_size), (True, None), (True, any_size)):
        results = with_gradients(convolve, x, weights, signature)
        assert results[0].shape == (b, 2 * h, 2 * w, filters)
        for result, right in zip(results, expected):
            np.testing.assert_allclose(result, right, rtol=0, atol=1e-12 * np.abs(right).max())


@pytest.mark.skipif(bool(tf.config.list_physical_devices('GPU')), reason='cuDNN takes padding in every precision')
@pytest.mark.parametrize('precision', ['float32', 'bfloat16', 'float16'])
def test_on_cpus_half_precision_doubles_sides_without_explicit_padding(precision):
    with computed_in(precision):
        layer = convolutions.UpConv(5, 3)
    x = tf.cast(tf.random.stateless_normal([1, 8, 9, 4], [1, 2]), layer.compute_dtype)
    graph = tf.function(layer, autograph=False).get_concrete_function(x).graph
    paddings = [op.get_attr('padding') for op in graph.get_operations() if op.type == 'Conv2DBackpropInput']
    assert paddings == [b'EXPLICIT' if precision == 'float32' else b'VALID']
    expected = tf.nn.conv2d_transpose(tf.cast(x, tf.float32), layer.kernel, [1, 17, 19, 5], 2, 'VALID')[:, 1:, 1:]
    np.testing.assert_allclose(tf.cast(layer(x), tf.float32), expected, atol=0.03)


@pytest.mark.parametrize('side, pads', [(16, 0), (15, 1), (None, 1)])
def test_no_padded_copy_is_made_where_none_is_needed(side, pads):
    function = tf.function(convolutions.Conv(4, 4, 2, 1), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec([1, side, side, 3])).graph
    assert [op.type for op in graph.get_operations()].count('Pad') == pads


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
@pytest.mark.parametrize('name, layer', [('resnet_6blocks', 'conv_out'), ('unet_128', 'ups'), ('basic', 'conv_in')])
def test_a_bias_has_the_sum_of_all_pixels_gradients(name, layer, precision):
    """Of the networks' last biases, and of the first one of the discriminator, behind which no norm comes either."""
    make = make_discriminator if name == 'basic' else make_generator
    network, wide = (make(name, filters=4, norm='none', seed=1, precision=one) for one in (precision, 'float32'))
    x = tf.random.stateless_normal([1, 128, 128, 3], [1, 2])

    def gradient(network):
        bias = tf.nest.flatten([getattr(network, layer)])[0].bias
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(network(x, training=True) ** 2 + network(x, training=True))
        return tape.gradient(loss, bias)

    expected = gradient(wide)
    # Behind the discriminator's first convolution come others, whose rounding is that of the largest elements.
    size = np.abs(expected).max() if name == 'basic' else np.abs(expected)
    assert (np.abs(gradient(network) - expected) <= 0.02 * size).all()


def test_repeated_pixels_are_convolved_and_mirrored_at_the_border(float64):
    layer, x = convolutions.ResizeConv(4), np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    found = layer(tf.constant(x)).numpy()
    repeated = np.pad(x.repeat(2, axis=1).repeat(2, axis=2), [[0, 0], [1, 1], [1, 1], [0, 0]], mode='reflect')
    expected = sum(repeated[:, i : i + 6, j : j + 10] @ layer.kernel.numpy()[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_spectral_normalisation_in_half_precision(precision):
    x = tf.random.stateless_normal([2, 64, 64, 3], [1, 2])
    half, single = (
        make_discriminator('basic', filters=4, spectral_norm=True, init_gain=0.2, seed=1, precision=one)
        for one in (precision, 'float32')
    )
    convolutions.update_singular_vectors(half)
    convolutions.update_singular_vectors(single)
    np.testing.assert_allclose(half(x), single(x), atol=0.05)
    assert half.conv_in.u.dtype == tf.float32 and np.abs(single(x)).max() > 0.2


def test_spectral_normalisation_divides_by_the_largest_singular_value(float64):
    layer = convolutions.SpectralConv(5, 4, 2, 1, kernel_initializer=tf.keras.initializers.RandomNormal(seed=3), seed=1)
    network, x = tf.keras.Sequential([layer]), np.random.default_rng(1).normal(size=(2, 8, 8, 3))
    network(tf.constant(x))
    matrix = layer.kernel.numpy().reshape(-1, 5).T  # output channels by the rest
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    for _ in range(100):
        convolutions.update_singular_vectors(network)
    plain = convolutions.Conv(5, 4, 2, 1)
    plain(tf.constant(x))
    plain.kernel.assign(layer.kernel / largest)
    np.testing.assert_allclose(layer(tf.constant(x)), plain(tf.constant(x)), atol=1e-9)
    layer.kernel.assign(layer.kernel * 7)  # its size makes no difference
    np.testing.assert_allclose(layer(tf.constant(x)), plain(tf.constant(x)), atol=1e-9)

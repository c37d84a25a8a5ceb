"""Sizes, shapes, initialisations, norms, dropout and errors of the networks."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import layers, make_discriminator, make_generator, norms


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(
    'name, norm, parameters',
    [
        ('resnet_9blocks', 'instance', 11_378_179),
        ('resnet_9blocks', 'batch', 11_383_427),
        ('resnet_6blocks', 'instance', 7_837_699),
        ('resnet_6blocks', 'batch', 7_841_411),
        ('unet_256', 'instance', 54_409_603),
        ('unet_256', 'batch', 54_413_955),
        ('unet_128', 'instance', 41_825_667),
        ('unet_128', 'batch', 41_828_995),
    ],
)
def test_generators_have_as_many_parameters_as_the_reference(name, norm, parameters):
    assert count(make_generator(name, norm=norm)) == parameters


@pytest.mark.parametrize(
    'name, norm, parameters',
    [
        ('basic', 'instance', 2_764_737),
        ('basic', 'batch', 2_765_633),
        ('n_layers', 'instance', 2_764_737),
        ('pixel', 'instance', 8_705),
        ('pixel', 'batch', 8_832),
    ],
)
def test_discriminators_have_as_many_parameters_as_the_reference(name, norm, parameters):
    assert count(make_discriminator(name, norm=norm)) == parameters


def test_patchgan_gives_30x30_logits_for_256x256():
    assert make_discriminator('basic', filters=4)(tf.zeros([1, 256, 256, 3])).shape == (1, 30, 30, 1)


def test_unequal_channels():
    assert make_generator('resnet_6blocks', 1, 5, 4)(tf.zeros([1, 32, 32, 1])).shape == (1, 32, 32, 5)


@pytest.mark.parametrize('value', [-1.0, 0.0, 1.0])
@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_constant_images_give_finite_images(name, value):
    result = make_generator(name, filters=4)(tf.fill([1, 128, 128, 3], value)).numpy()
    assert result.shape == (1, 128, 128, 3)
    assert np.isfinite(result).all() and np.abs(result).max() <= 1


@pytest.mark.parametrize(
    'make, shape, message',
    [
        (lambda: make_generator('unet_128', filters=4), (1, 128, 130, 3), 'width of the images .130. is no multiple'),
        (lambda: make_generator('resnet_6blocks', filters=4), (1, 4, 32, 3), 'height of the images .4. is below 5'),
        (lambda: make_generator('resnet_6blocks', filters=4), (1, 32, 32, 1), 'have 1 channels, the network takes 3'),
        (lambda: make_discriminator('basic', filters=4), (1, 23, 64, 3), 'height of the images .23. is below 24'),
    ],
)
def test_images_that_a_network_cannot_take_are_refused(make, shape, message):
    with pytest.raises(UserError, match=message):
        make()(tf.zeros(shape))


def test_the_smallest_images_work():
    assert make_generator('resnet_6blocks', filters=4)(tf.zeros([1, 5, 5, 3])).shape == (1, 8, 8, 3)
    assert make_discriminator('basic', filters=4)(tf.zeros([1, 24, 24, 3])).shape == (1, 1, 1, 1)


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: make_generator('resnet_7blocks'), "generator name 'resnet_7blocks' is not one of: resnet_9blocks"),
        (lambda: make_discriminator('patch'), "discriminator name 'patch' is not one of: basic"),
        (lambda: make_generator('resnet_6blocks', norm='layer'), "norm 'layer' is not one of: instance"),
        (lambda: make_generator('resnet_6blocks', padding='same'), "padding 'same' is not one of: reflect"),
        (lambda: make_generator('resnet_6blocks', init_type='he'), "init_type 'he' is not one of: normal"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(
    'name, layers, message',
    [
        ('resnet_6blocks', (0, 25), r'`layers` .0,25. has 25; the layers of this generator .* from 0 to 24'),
        ('resnet_6blocks', (-1,), r'`layers` .-1. has -1; the layers of this generator .* from 0 to 24'),
        (
            'unet_128',
            (0, 4),
            r'`layers` .0,4. are numbers .* which a U-Net is not; make a generator with name resnet_9blocks',
        ),
    ],
)
def test_layers_that_a_generator_has_not_are_refused(name, layers, message):
    network = make_generator(name, filters=4)
    for training in (False, True):
        with pytest.raises(UserError, match=message):
            network(tf.zeros([1, 128, 128, 3]), training=training, layers=layers)


def test_layers_are_handed_out_in_the_order_asked_for(photographs):
    network = make_generator('resnet_6blocks', filters=4, init_gain=0.1)
    x = tf.constant(photographs(1, 32, 40), tf.float32)
    for training in (False, True):
        image, padded, block, again = network(x, training=training, layers=(24, 0, 10, 24))
        np.testing.assert_array_equal(image, network(x, training=training))
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(padded, tf.pad(x, [[0, 0], [3, 3], [3, 3], [0, 0]], 'REFLECT'))
        assert block.shape == (1, 8, 10, 16)


# Up to layer 4 there are two convolutions, up to 12 three and those of three blocks.
@pytest.mark.parametrize('layers, convolutions', [((0,), 0), ((4, 0), 2), ((0, 4, 8, 12), 3 + 2 * 3)])
@pytest.mark.parametrize('training, again', [(False, False), (True, False), (True, True)])
def test_nothing_is_computed_behind_the_last_layer(layers, convolutions, training, again):
    network = make_generator('resnet_6blocks', filters=4, recompute_grads=again)
    function = tf.function(lambda x: network(x, training=training, layers=layers), autograph=False)
    graph = function.get_concrete_function(tf.zeros([1, 32, 32, 3])).graph
    first = network.trainable_variables[: 2 * convolutions]  # each has a kernel and a bias
    assert {variable.ref() for variable in graph.variables} == {variable.ref() for variable in first}
    definition = graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    assert sum(node.op == 'Conv2D' for body in bodies for node in body) == convolutions


@pytest.mark.parametrize(
    'init_type, deviation',
    [
        ('normal', 0.1),
        ('xavier', 0.1 * np.sqrt(2 / (2 * 9 * 256))),
        ('kaiming', np.sqrt(2 / (9 * 256))),
        ('orthogonal', 0.1 / np.sqrt(9 * 256)),
    ],
)
def test_kernels_are_drawn_as_the_reference_draws_them(init_type, deviation):
    model = make_generator('resnet_6blocks', filters=64, init_type=init_type, init_gain=0.1, seed=0)
    kernel = model.blocks[0].conv_1.kernel.numpy()
    assert kernel.mean() == pytest.approx(0, abs=deviation / 100)
    assert kernel.std() == pytest.approx(deviation, rel=0.01)
    if init_type != 'orthogonal':  # not cut at two deviations, as Keras's are by default
        assert np.abs(kernel).max() > 4 * kernel.std()
    assert np.all(model.blocks[0].conv_1.bias.numpy() == 0)


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


def test_batch_norm_scales_are_drawn_around_one():
    model = make_generator('resnet_6blocks', filters=64, norm='batch', init_gain=0.02, seed=0)
    scales = np.concatenate([block.norm_1.scale.numpy() for block in model.blocks])
    assert scales.mean() == pytest.approx(1, abs=0.005) and scales.std() == pytest.approx(0.02, rel=0.1)


def test_a_seed_fixes_the_weights_and_differs_between_layers():
    one, same, other = (make_generator('resnet_6blocks', filters=4, seed=s) for s in (1, 1, 2))
    for a, b, c in zip(one.variables, same.variables, other.variables):
        np.testing.assert_array_equal(a, b)
        assert len(a.shape) == 1 or not np.array_equal(a, c)
    assert not np.array_equal(one.blocks[0].conv_1.kernel, one.blocks[1].conv_1.kernel)


@pytest.mark.parametrize('form', ['keras', 'formula'])
def test_every_form_of_instance_norm_is_the_same(float64, photographs, form):
    x = tf.constant(photographs(2, 40, 56))
    expected = norms.instance_norm()(x)
    np.testing.assert_allclose(norms.instance_norm(form)(x), expected, rtol=0, atol=1e-13)
    mean, variance = np.mean(x, (1, 2), keepdims=True), np.var(x, (1, 2), keepdims=True)
    np.testing.assert_allclose(expected, (x - mean) / np.sqrt(variance + 1e-5), rtol=0, atol=1e-13)
    assert norms.instance_norm().weights == []


def test_the_fast_instance_norm_is_the_formula_with_statistics_in_float32(photographs):
    # Bright: statistics in half precision would be far off.
    bright = 1 + np.tile(photographs(2, 40, 56), (3, 1, 1, 1)) * [[[[1, 0.5, 2]]]]
    for dtype, exact in ((tf.float32, 5e-5), (tf.bfloat16, 2**-8), (tf.float16, 2**-10)):
        norm = norms.InstanceNorm(dtype=dtype.name)
        any_number = tf.function(norm, [tf.TensorSpec([None, None, None, 3], dtype)], autograph=False)
        for images in (1, 3, 6):
            norm.plain = False
            x = tf.cast(bright[:images], dtype)
            seen = np.asarray(tf.cast(x, tf.float64))
            expected = (seen - seen.mean((1, 2), keepdims=True)) / np.sqrt(seen.var((1, 2), keepdims=True) + 1e-5)
            results = [norm(x), any_number(x)]
            norm.plain = True
            for result in (*results, norm(x)):
                assert result.dtype == dtype
                result = tf.cast(result, tf.float64)
                np.testing.assert_allclose(result, expected, rtol=0, atol=np.abs(expected).max() * exact)


def test_the_fast_instance_norm_has_the_formulas_gradient(photographs):
    for images in (1, 6):
        seen = np.tile(photographs(2, 24, 20), (3, 1, 1, 1))[:images]
        gradients = []
        for norm, dtype in (
            (norms.InstanceNorm(), tf.float32),
            (norms.InstanceNormFormula(dtype='float64'), tf.float64),
        ):
            x = tf.constant(seen, dtype)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.reduce_sum(norm(x) ** 3 * tf.range(20, dtype=dtype)[:, None])
            gradients.append(tape.gradient(value, x))
        np.testing.assert_allclose(*gradients, rtol=0, atol=1e-4 * np.abs(gradients[1]).max())


@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_dropout_is_drawn_from_the_seed_and_only_in_training(name):
    model = make_generator(name, filters=4, use_dropout=True, init_type='kaiming', seed=0)
    images = tf.random.stateless_uniform([1, 128, 128, 3], [1, 2])
    seeds = [tf.constant([[0, n]]) for n in (1, 1, 2)]
    one, same, other = (model(images, training=True, seed=seed).numpy() for seed in seeds)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(model(images, seed=seeds[0]), model(images))
    with pytest.raises(ValueError, match='`seed`'):
        model(images, training=True)


def test_dropout_zeroes_half_and_doubles_the_rest():
    result = layers.dropout(tf.ones([1, 100, 100, 1]), 0.5, tf.constant([[1, 2]]), 0).numpy()
    assert set(np.unique(result)) == {0.0, 2.0} and result.mean() == pytest.approx(1, abs=0.05)


def test_dropout_of_an_image_does_not_depend_on_the_others_of_the_batch():
    images, seeds = tf.random.stateless_uniform([3, 8, 8, 2], [1, 2], 1, 2), tf.constant([[1, 2], [3, 4], [5, 6]])
    together = layers.dropout(images, 0.5, seeds, 1).numpy()
    for i in range(3):
        np.testing.assert_array_equal(together[i], layers.dropout(images[i : i + 1], 0.5, seeds[i : i + 1], 1)[0])
    assert not np.array_equal(together[0] == 0, together[1] == 0)


@pytest.mark.parametrize('precision, share', [('bfloat16', 0.03), ('float16', 0.004)])
@pytest.mark.parametrize('norm', ['instance', 'batch', 'none'])
@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128', 'basic', 'pixel'])
def test_half_precision_keeps_weights_and_results_in_float32_and_stays_close(photographs, name, norm, precision, share):
    make = make_discriminator if name in ('basic', 'pixel') else make_generator
    full, half = (make(name, filters=8, norm=norm, seed=1, init_gain=0.1, precision=p) for p in ('float32', precision))
    x = tf.constant(photographs(2, 128, 128), tf.float32)
    expected, result = full(x, training=True), half(x, training=True)
    assert result.dtype == tf.float32 and {v.dtype for v in half.variables} == {tf.float32}
    for one, other in zip(full.trainable_variables, half.trainable_variables):
        np.testing.assert_array_equal(one, other)
    difference = np.abs(result - expected)
    # Not the same: it has been computed in fewer bits; and not far off either.
    assert 0 < difference.mean() < share * np.std(expected)
    assert tf.keras.mixed_precision.global_policy().name == 'float32'


def test_an_unknown_precision_is_named():
    with pytest.raises(UserError, match="precision 'float8' is not one of: float32, bfloat16, float16"):
        make_generator('resnet_6blocks', filters=4, precision='float8')

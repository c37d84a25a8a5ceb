"""Generators: sizes, shapes, dropout, and names that there are not."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_generator


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
    variables = make_generator(name, norm=norm).trainable_variables
    assert sum(int(np.prod(variable.shape)) for variable in variables) == parameters


def test_unequal_channels():
    assert make_generator('resnet_6blocks', 1, 5, 4)(tf.zeros([1, 32, 32, 1])).shape == (1, 32, 32, 5)


@pytest.mark.parametrize('value', [-1.0, 0.0, 1.0])
@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_constant_images_give_finite_images(name, value):
    result = make_generator(name, filters=4)(tf.fill([1, 128, 128, 3], value)).numpy()
    assert result.shape == (1, 128, 128, 3)
    assert np.isfinite(result).all() and np.abs(result).max() <= 1


def test_the_smallest_images_work():
    assert make_generator('resnet_6blocks', filters=4)(tf.zeros([1, 5, 5, 3])).shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: make_generator('resnet_7blocks'), "generator name 'resnet_7blocks' is not one of: resnet_9blocks"),
        (lambda: make_generator('resnet_6blocks', norm='layer'), "norm 'layer' is not one of: instance"),
        (lambda: make_generator('resnet_6blocks', padding='same'), "padding 'same' is not one of: reflect"),
        (lambda: make_generator('resnet_6blocks', init_type='he'), "init_type 'he' is not one of: normal"),
        (lambda: make_generator('resnet_6blocks', upsample='nearest'), "upsample 'nearest' is not one of: deconv"),
        (lambda: make_generator('resnet_6blocks', downsample='pool'), "downsample 'pool' is not one of: stride"),
        (lambda: make_generator('unet_128', upsample='antialias'), '`upsample` .antialias. is for ResNet generators'),
        (lambda: make_generator('unet_128', downsample='antialias'), '`downsample` .antialias. is for ResNet gener'),
        (lambda: make_generator('unet_128', n_downsampling=1), '`n_downsampling` .1. is 0, 1 or 2 for a ResNet; leave'),
        (lambda: make_generator('resnet_6blocks', n_downsampling=3), '`n_downsampling` .3. is 0, 1 or 2 for a ResNet'),
        (lambda: make_generator('resnet_6blocks', learn_gain=True), '`learn_gain` .True. belongs to a change of the i'),
        (lambda: make_generator('resnet_6blocks', 1, 3, learn_residual=True), '`learn_residual` .True. needs as many'),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(call, message):
    with pytest.raises(UserError, match=message):
        call()


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


@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_a_residual_is_added_to_the_image_and_the_sum_is_clipped(name):
    how = dict(filters=2, norm='none', init_gain=0.5, seed=1)
    plain, residual = make_generator(name, **how), make_generator(name, **how, learn_residual=True)
    x = tf.random.stateless_uniform([1, 128, 128, 3], [1, 2], -1, 1)
    for training in (False, True):
        change, found = plain(x, training=training), residual(x, training=training)
        np.testing.assert_allclose(found, np.clip(x + change, -1, 1), atol=1e-6)
    assert np.abs(x + change).max() > 1
    if name == 'resnet_6blocks':
        for a, b in zip(plain(x, layers=[0, 4, 22]), residual(x, layers=[0, 4, 22])):
            np.testing.assert_array_equal(a, b)
        with pytest.raises(UserError, match='The height of the images .30. is not a multiple of 4, as this generator'):
            residual(tf.zeros([1, 30, 32, 3]))


@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_pixels_are_multiplied_from_black_before_the_change_is_added(name):
    how = dict(filters=2, norm='none', init_gain=0.5, seed=1, learn_residual=True)
    plain, both = make_generator(name, 3, 3, **how), make_generator(name, 3, 3, **how, learn_gain=True)
    # All layers but the last are the same; its first channels are the logarithms of the gain, the last ones the change.
    last = 'conv_out' if name == 'resnet_6blocks' else 'ups'
    layers = [getattr(network, last) for network in (plain, both)]
    plain_out, out = (layer if name == 'resnet_6blocks' else layer[0] for layer in layers)
    for variable, other in zip(out.variables, plain_out.variables, strict=True):
        # A transposed convolution's kernel has its output channels before its input channels.
        axis = -2 if len(variable.shape) == 4 and name == 'unet_128' else -1
        variable.assign(tf.concat([tf.zeros_like(other), other], axis))
    x = tf.random.stateless_uniform([1, 128, 128, 3], [1, 2], -1, 1)
    np.testing.assert_allclose(both(x), plain(x), atol=1e-6)  # a gain of 1

    gains = [2.0, 1 / 3, 0.5]
    for variable in out.variables:
        variable.assign(tf.zeros_like(variable))
    logarithms = np.log(gains) / np.log(4)
    out.bias.assign(np.arctanh([*logarithms, 0.25, 0, -0.125]))
    light = (x + 1) / 2  # in [0, 1]
    expected = np.clip(2 * (light * gains + np.array([0.125, 0, -0.0625])) - 1, -1, 1)
    np.testing.assert_allclose(both(x), expected, atol=1e-5)
    assert both.output_channels == 3


def test_gains_are_computed_in_the_precision_of_the_image(float64):
    network = make_generator('resnet_6blocks', filters=2, learn_residual=True, learn_gain=True, seed=1)
    # In a graph a number becomes float32 where eager execution takes the type of the other argument.
    in_graph = tf.function(lambda x: network(x, training=True))
    assert in_graph(tf.zeros([1, 32, 32, 3], tf.float64)).dtype == tf.float64


def test_the_image_that_a_residual_is_added_to_is_not_rounded():
    network = make_generator('resnet_6blocks', filters=2, learn_residual=True, precision='bfloat16', seed=1)
    for variable in network.conv_out.variables:
        variable.assign(tf.zeros_like(variable))  # no change
    x = tf.random.stateless_uniform([1, 32, 32, 3], [1, 2], -1, 1)
    np.testing.assert_array_equal(network(x), x)


@pytest.mark.parametrize('upsample, downsample', [('deconv', 'stride'), ('resize', 'antialias')])
@pytest.mark.parametrize('n_downsampling', [0, 1])
def test_features_can_keep_their_size(n_downsampling, upsample, downsample):
    how = dict(filters=4, upsample=upsample, downsample=downsample, init_gain=0.1, seed=1)
    network, usual = (make_generator('resnet_6blocks', n_downsampling=n, **how) for n in (n_downsampling, 2))
    assert (network.side_multiple, usual.side_multiple) == (2**n_downsampling, 4)
    # Two convolutions and norms fewer for each time that the size is not halved, and the blocks' index moves with it.
    fewer = 2 - n_downsampling
    blurs = fewer * (downsample == 'antialias')
    assert usual.num_layers - network.num_layers == 6 * fewer + blurs
    x = tf.random.stateless_uniform([1, 34, 38, 3], [1, 2], -1, 1)
    first = 4 + 3 * n_downsampling + n_downsampling * (downsample == 'antialias')
    shape = (1, 34 >> n_downsampling, 38 >> n_downsampling, 4 << n_downsampling)
    before, block, last = network(x, layers=[first - 1, first, network.num_layers - 1])
    assert before.shape == block.shape == shape and last.shape == x.shape
    np.testing.assert_array_equal(last, network(x))
    np.testing.assert_array_equal(block, network.blocks[0](before, training=False, seed=None))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, training=True) ** 2)
    assert all(gradient is not None for gradient in tape.gradient(loss, network.trainable_variables))


@pytest.mark.parametrize('n_downsampling', [0, 1])
def test_the_smallest_images_of_generators_that_keep_sizes(n_downsampling):
    network = make_generator('resnet_6blocks', filters=2, n_downsampling=n_downsampling)
    assert network(tf.zeros([1, 4, 4, 3])).shape == (1, 4, 4, 3)
    with pytest.raises(UserError, match='is below 4, the minimum'):
        network(tf.zeros([1, 3, 4, 3]))


def test_repeated_pixels_make_no_checkerboard():
    """Of a constant image, away from the border: a transposed convolution makes a pattern, repeated pixels none."""
    spread = {}
    for upsample in ('deconv', 'resize'):
        network = make_generator('resnet_6blocks', filters=4, norm='none', init_gain=0.1, seed=1, upsample=upsample)
        middle = network(tf.fill([1, 256, 256, 3], 0.5))[0, 120:136, 120:136].numpy()
        spread[upsample] = np.ptp(middle, axis=(0, 1)).max() / np.abs(middle).max()
    assert spread['resize'] < 1e-4 and spread['deconv'] > 0.1
    unet = make_generator('unet_128', filters=2, upsample='resize')
    assert unet(tf.zeros([1, 128, 256, 3])).shape == (1, 128, 256, 3)

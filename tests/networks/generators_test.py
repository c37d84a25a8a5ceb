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

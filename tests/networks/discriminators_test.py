"""Discriminators: sizes, shapes, and names that there are not."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_discriminator
from cyclegan_tf.networks.discriminators import halve


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
    variables = make_discriminator(name, norm=norm).trainable_variables
    assert sum(int(np.prod(variable.shape)) for variable in variables) == parameters


def test_patchgan_gives_30x30_logits_for_256x256():
    assert make_discriminator('basic', filters=4)(tf.zeros([1, 256, 256, 3])).shape == (1, 30, 30, 1)


def test_the_smallest_images_work():
    assert make_discriminator('basic', filters=4)(tf.zeros([1, 24, 24, 3])).shape == (1, 1, 1, 1)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match="discriminator name 'patch' is not one of: basic"):
        make_discriminator('patch')


def test_a_discriminator_needs_a_layer():
    with pytest.raises(UserError, match='`num_layers` .0. must be at least 1'):
        make_discriminator('n_layers', num_layers=0)


@pytest.mark.parametrize('name', ['basic', 'pixel'])
def test_further_discriminators_see_images_of_half_the_size(name):
    network = make_discriminator(name, filters=2, num_scales=3, seed=1)
    images = tf.random.stateless_uniform([2, 96, 100, 3], [1, 2], -1, 1)
    logits, sizes = network(images), [(96, 100), (48, 50), (24, 25)]
    for found, scale, size in zip(logits, network.scales, sizes, strict=True):
        assert images.shape[1:3] == size
        np.testing.assert_array_equal(found, scale(images))
        images = halve(images)
    kernels = [scale.trainable_variables[0].numpy() for scale in network.scales]
    assert not np.array_equal(kernels[0], kernels[1])


def test_halving_takes_the_mean_of_the_pixels_that_there_are():
    x = np.arange(15.0, dtype=np.float32).reshape(1, 3, 5, 1)
    whole = x[0, :, :, 0]
    expected = [[whole[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean() for j in (0, 2, 4)] for i in (0, 2)]
    np.testing.assert_allclose(halve(tf.constant(x))[0, :, :, 0], expected, rtol=1e-6)

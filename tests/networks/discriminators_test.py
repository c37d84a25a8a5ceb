"""Discriminators: sizes, shapes, and names that there are not."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_discriminator


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

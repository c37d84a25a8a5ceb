"""Images that a network cannot take are refused, or padded."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_discriminator, make_generator
from cyclegan_tf.networks.shapes import pad_to_multiple


@pytest.mark.parametrize(
    'make, shape, message',
    [
        (
            lambda: make_generator('unet_128', filters=4),
            (1, 128, 130, 3),
            'width of the images .130. is not a multiple',
        ),
        (lambda: make_generator('resnet_6blocks', filters=4), (1, 4, 32, 3), 'height of the images .4. is below 5'),
        (lambda: make_generator('resnet_6blocks', filters=4), (1, 32, 32, 1), 'have 1 channels, the network takes 3'),
        (lambda: make_discriminator('basic', filters=4), (1, 23, 64, 3), 'height of the images .23. is below 24'),
    ],
)
def test_images_that_a_network_cannot_take_are_refused(make, shape, message):
    with pytest.raises(UserError, match=message):
        make()(tf.zeros(shape))


@pytest.mark.parametrize('multiple', [4, 128, 256])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 3), (8, 12), (33, 130), (300, 255)])
def test_padding_mirrors_as_often_as_it_has_to(multiple, size):
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    sides = [max(-(-side // multiple) * multiple, 8) for side in size]
    wanted = np.pad(images, [(0, 0), *((0, padded - side) for padded, side in zip(sides, size)), (0, 0)], 'reflect')
    np.testing.assert_array_equal(pad_to_multiple(tf.constant(images), multiple), wanted)

"""Images that a network cannot take are refused."""

import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_discriminator, make_generator


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

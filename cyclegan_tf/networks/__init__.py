"""The networks by name: make_generator and make_discriminator."""

from cyclegan_tf.networks.discriminators import make_discriminator
from cyclegan_tf.networks.generators import make_generator

__all__ = ['make_discriminator', 'make_generator']

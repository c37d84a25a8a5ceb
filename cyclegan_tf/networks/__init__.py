"""The networks by name: make_generator, make_discriminator and make_patch_features."""

from cyclegan_tf.networks.discriminators import make_discriminator
from cyclegan_tf.networks.generators import make_generator
from cyclegan_tf.networks.patch_features import make_patch_features

__all__ = ['make_discriminator', 'make_generator', 'make_patch_features']

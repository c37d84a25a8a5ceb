"""The models by name."""

from cyclegan_tf.models.cycle_gan import CycleGAN

MODELS = {'cycle_gan': CycleGAN}

"""The models by name."""

from cyclegan_tf.models.cut import CUT
from cyclegan_tf.models.cycle_gan import CycleGAN
from cyclegan_tf.models.pix2pix import Pix2Pix

MODELS = {'cycle_gan': CycleGAN, 'pix2pix': Pix2Pix, 'cut': CUT}

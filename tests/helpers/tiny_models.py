"""Models with networks of one or two convolutions, for tests where the model does not matter; a new model is no more.

`tiny` has one direction and one player; `tiny_cycle_gan`, `tiny_pix2pix` and `tiny_cut` are the real models but for
their generators and discriminators.
"""

import contextlib
import dataclasses
from unittest import mock

import tensorflow as tf

from cyclegan_tf.models import MODELS, losses
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.models.cut import CUT
from cyclegan_tf.models.cycle_gan import CycleGAN
from cyclegan_tf.models.pix2pix import Pix2Pix
from cyclegan_tf.networks.initializers import build
from cyclegan_tf.networks.layers import apply_dropout
from cyclegan_tf.networks.precision import computed_in, full_precision
from cyclegan_tf.settings.fields import changed, setting
from cyclegan_tf.settings.models import SETTINGS, CUTConfig, CycleGANConfig, Pix2PixConfig
from cyclegan_tf.settings.training import Config, NetworkRole


# ---------------------------------------------------------------------------------------------------------- networks
class Generator(tf.keras.Model):
    """Three stages: 0 a convolution, 1 ReLU and perhaps dropout, 2 another convolution and tanh.

    Call: float [b, h, w, c] of any size -> the same size in [-1, 1]; with `layers` the outputs of these stages.
    """

    side_multiple, num_layers = 1, 3

    def __init__(self, output_channels, seed, use_dropout=False):
        super().__init__()
        self.output_channels, self._use_dropout = output_channels, use_dropout
        self.conv_in, self.conv_out = convolution(4, seed), convolution(output_channels, seed + 1)

    def call(self, x, training=False, seed=None, layers=()):
        stages = [self.conv_in, lambda y: self._activate(y, training, seed), self._finish]
        outputs = []
        for stage in stages[: max(layers) + 1 if layers else None]:
            x = stage(x)
            outputs.append(x)
        return [outputs[layer] for layer in layers] if layers else x

    def _activate(self, x, training, seed):
        x = tf.nn.relu(x)
        return apply_dropout(x, 0.5, training, seed, 0) if self._use_dropout else x

    def _finish(self, x):
        return tf.tanh(full_precision(self.conv_out(x)))


class Discriminator(tf.keras.Model):
    """One convolution to logits [b, h, w, 1]."""

    def __init__(self, seed):
        super().__init__()
        self.conv = convolution(1, seed)

    def call(self, x, training=False):
        return full_precision(self.conv(x))


def convolution(filters, seed, side=3):
    initializer = tf.keras.initializers.RandomNormal(0.0, 0.3, seed)
    return tf.keras.layers.Conv2D(filters, side, padding='same', kernel_initializer=initializer)


class TinyNetworks(BaseModel):
    """Makes tiny networks for the roles of any model."""

    def make_network(self, name, seed, for_tiles=False):
        config = self._config
        role = config.networks[name]
        channels = sum(config.channels[domain] for domain in role.inputs)
        with computed_in(config.precision):
            if role.kind == 'generator':
                network = Generator(config.channels[role.output], seed, not config.no_dropout)
            elif role.kind == 'discriminator':
                network = Discriminator(seed)
            else:
                return super().make_network(name, seed)
            build(network, [1, 8, 8, channels])
        return network


# ------------------------------------------------------------------------------------------------------ one direction
@dataclasses.dataclass(frozen=True)
class TinyConfig(Config):
    networks = {'G': NetworkRole('generator', ('A',), 'B')}

    lambda_tiny: float = setting(10.0, 'weight of the only loss', minimum=0.0)


class Tiny(TinyNetworks):
    """G: A -> B, nearer to the images of B that come with those of A."""

    players_of = {'G': ('G',)}
    loss_names = plateau_losses = ('G_L1',)

    def train_step(self, real_a, real_b):
        real_a, real_b = tf.cast(real_a, self._dtype), tf.cast(real_b, self._dtype)
        seeds = self.rows_of_replica(self.dropout_seeds(self.step_seed(), calls=1))
        _, (values, found) = self.accumulate(self.gradients, real_a, real_b, *seeds)
        return self.finish_step(values, self.update('G', found))

    def gradients(self, real_a, real_b, seeds):
        variables = self.variables_of('G')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            fake = self.g(real_a, training=True, seed=seeds[:, 0])
            loss = self.mean(losses.l1(fake, real_b) * self._config.lambda_tiny)
            scaled = self.scaled('G', loss)
        return (), ({'loss/G_L1': loss}, tape.gradient(scaled, variables))


# ----------------------------------------------------------------------------------------------------- both directions
@dataclasses.dataclass(frozen=True)
class TinyCycleGANConfig(CycleGANConfig):
    pass


class TinyCycleGAN(TinyNetworks, CycleGAN):
    """CycleGAN with tiny networks."""


# ------------------------------------------------------------------------------------------------------- pix2pix, CUT
@dataclasses.dataclass(frozen=True)
class TinyPix2PixConfig(Pix2PixConfig):
    dataset_mode: str = changed(Pix2PixConfig, 'dataset_mode', 'paired')
    netG: str = changed(Pix2PixConfig, 'netG', 'resnet_6blocks')
    norm: str = changed(Pix2PixConfig, 'norm', 'instance')


class TinyPix2Pix(TinyNetworks, Pix2Pix):
    """pix2pix with tiny networks."""


@dataclasses.dataclass(frozen=True)
class TinyCUTConfig(CUTConfig):
    nce_layers: str = changed(CUTConfig, 'nce_layers', '0,1')
    num_patches: int = changed(CUTConfig, 'num_patches', 24)
    netF_nc: int = changed(CUTConfig, 'netF_nc', 8)
    init_gain: float = changed(CUTConfig, 'init_gain', 1.0)  # F is the real one
    n_epochs: int = changed(CUTConfig, 'n_epochs', 2)
    n_epochs_decay: int = changed(CUTConfig, 'n_epochs_decay', 2)


class TinyCUT(TinyNetworks, CUT):
    """CUT with a tiny generator and discriminator."""


TINY = {
    'tiny': (TinyConfig, Tiny),
    'tiny_cycle_gan': (TinyCycleGANConfig, TinyCycleGAN),
    'tiny_pix2pix': (TinyPix2PixConfig, TinyPix2Pix),
    'tiny_cut': (TinyCUTConfig, TinyCUT),
}


@contextlib.contextmanager
def registered():
    """A context in which the programs know the tiny models."""
    with (
        mock.patch.dict(SETTINGS, {name: settings for name, (settings, _) in TINY.items()}),
        mock.patch.dict(MODELS, {name: model for name, (_, model) in TINY.items()}),
    ):
        yield

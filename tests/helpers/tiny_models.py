"""Models with networks of one or two convolutions, for tests where the model does not matter; a new model is no more.

`tiny` has one direction and one player; `tiny_cycle_gan` is CycleGAN but for its networks; `tiny_cut` has three
players, of which D is updated first, then G and F together by one loss, F fed from G's stages, as in CUT.
"""

import contextlib
import dataclasses
from unittest import mock

import tensorflow as tf

from cyclegan_tf.models import MODELS, losses
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.models.cycle_gan import CycleGAN
from cyclegan_tf.networks.initializers import build
from cyclegan_tf.networks.layers import dropout
from cyclegan_tf.networks.precision import computed_in, full_precision
from cyclegan_tf.ops.random import fold
from cyclegan_tf.settings.fields import setting
from cyclegan_tf.settings.models import SETTINGS, CycleGANConfig
from cyclegan_tf.settings.training import Config, NetworkRole


# ---------------------------------------------------------------------------------------------------------- networks
class Generator(tf.keras.Model):
    """Three stages: 0 a convolution, 1 ReLU and perhaps dropout, 2 another convolution and tanh.

    Call: float [b, h, w, c] of any size -> the same size in [-1, 1]; with `layers` the outputs of these stages.
    """

    side_multiple = 1

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
        return dropout(x, 0.5, seed, 0) if self._use_dropout and training else x

    def _finish(self, x):
        return tf.tanh(full_precision(self.conv_out(x)))


class Discriminator(tf.keras.Model):
    """One convolution to logits [b, h, w, 1]."""

    def __init__(self, seed):
        super().__init__()
        self.conv = convolution(1, seed)

    def call(self, x, training=False):
        return full_precision(self.conv(x))


class Projection(tf.keras.Model):
    """One 1x1 convolution for each of some feature maps."""

    def __init__(self, maps, seed):
        super().__init__()
        self.convs = [convolution(3, seed + i, side=1) for i in range(maps)]

    def call(self, maps, training=False):
        return [full_precision(conv(x)) for conv, x in zip(self.convs, maps)]


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
                use_dropout = not (config.no_dropout or for_tiles)
                network = Generator(config.channels[role.output], seed, use_dropout)
            elif role.kind == 'discriminator':
                network = Discriminator(seed)
            else:
                network = Projection(len(config.nce_stages), seed)
                # In the middle of its network a generator has four channels.
                network([tf.zeros([1, 8, 8, 4], tf.keras.backend.floatx())] * len(config.nce_stages))
                return network
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


# ------------------------------------------------------------------------------------------------------- three players
@dataclasses.dataclass(frozen=True)
class TinyCutConfig(Config):
    networks = {
        'G': NetworkRole('generator', ('A',), 'B'),
        'D': NetworkRole('discriminator', ('B',)),
        'F': NetworkRole('projection', ()),
    }

    lambda_features: float = setting(2.0, 'weight of the distance of features', minimum=0.0)
    stages: str = setting('1,0', "G's stages whose features are compared")

    @property
    def nce_stages(self):
        return tuple(map(int, self.stages.split(',')))


class TinyCut(TinyNetworks):
    """G: A -> B; D judges B and is updated first; then G and F by one loss, against the updated D."""

    players_of = {'G': ('G',), 'D': ('D',), 'F': ('F',)}
    backward_groups = {'G': ('G', 'F')}
    loss_names = ('G_GAN', 'D', 'features')
    plateau_losses = ('G_GAN', 'features')

    def train_step(self, real_a, real_b):
        real_a, real_b = tf.cast(real_a, self._dtype), tf.cast(real_b, self._dtype)
        seed = self.step_seed()
        seeds, mix = self.rows_of_replica(
            self.dropout_seeds(fold(seed, 0), calls=1), self.mixing_numbers(fold(seed, 1))
        )
        if self._config.accumulate_steps > 1:
            # Twice through G, from the same seeds, since D is updated between.
            _, (of_d, found) = self.accumulate(self.discriminator_gradients_from_images, real_a, real_b, seeds, mix)
            norms = self.update('D', found)
            _, (of_g, found) = self.accumulate(self.generator_gradients, real_a, seeds)
            return self.finish_step(of_d | of_g, norms | self.update('G', found))

        variables = self.variables_of('G')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            fake = self.as_function(self.make_fakes)(real_a, seeds)
            of_d, found = self.as_function(self.discriminator_gradients)(real_b, tf.stop_gradient(fake), mix)
            norms = self.update('D', found)
            total, of_g = self.as_function(self.generator_losses)(real_a, fake)
        return self.finish_step(of_d | of_g, norms | self.update('G', tape.gradient(total, variables)))

    def make_fakes(self, real_a, seeds):
        return self.g(real_a, training=True, seed=seeds[:, 0])

    def discriminator_gradients_from_images(self, real_a, real_b, seeds, mix):
        return (), self.discriminator_gradients(real_b, self.make_fakes(real_a, seeds), mix)

    def discriminator_gradients(self, real_b, fake_b, mix):
        variables = self.variables_of('D')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss, _, _ = self.discriminator_loss(lambda x: self.d(x, training=True), real_b, fake_b, mix)
            scaled = self.scaled('D', loss)
        return {'loss/D': loss}, tape.gradient(scaled, variables)

    def generator_gradients(self, real_a, seeds):
        variables = self.variables_of('G')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            total, values = self.generator_losses(real_a, self.make_fakes(real_a, seeds))
        return (), (values, tape.gradient(total, variables))

    def generator_losses(self, real_a, fake_b):
        of_fake, of_real = (self.f(self.g(x, layers=self._config.nce_stages), training=True) for x in (fake_b, real_a))
        distances = [losses.l1(one, tf.stop_gradient(other)) for one, other in zip(of_fake, of_real)]
        values = {
            'loss/G_GAN': self.mean(self.adversarial.of_generator(self.d(fake_b, training=True))),
            'loss/features': self.mean(tf.add_n(distances) * self._config.lambda_features),
        }
        return self.scaled('G', tf.add_n(list(values.values()))), values


TINY = {
    'tiny': (TinyConfig, Tiny),
    'tiny_cycle_gan': (TinyCycleGANConfig, TinyCycleGAN),
    'tiny_cut': (TinyCutConfig, TinyCut),
}


@contextlib.contextmanager
def registered():
    """A context in which the programs know the tiny models."""
    with (
        mock.patch.dict(SETTINGS, {name: settings for name, (settings, _) in TINY.items()}),
        mock.patch.dict(MODELS, {name: model for name, (_, model) in TINY.items()}),
    ):
        yield

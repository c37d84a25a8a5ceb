"""CycleGAN: four networks, two optimizers, two pools, one step (Zhu et al. 2017, as the reference trains it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf import losses, schedules
from cyclegan_tf.config import Config
from cyclegan_tf.image_pool import ImagePool
from cyclegan_tf.networks import make_discriminator, make_generator
from cyclegan_tf.optimizers import Adam

BETA_2 = 0.999  # the reference's
EPSILON = 1e-8  # PyTorch's Adam; Keras's default is 1e-7

# What the draws of one step are for; each folds another number into the step's seed.
_POOL_A, _POOL_B, _MIX_A, _MIX_B, _DROPOUT = range(5)


class CycleGAN(tf.Module):
    """G_A: A -> B, G_B: B -> A; D_A judges images of B, D_B images of A.

    "A" here is the domain that the model starts from: with config.direction BtoA it is the data set's B.

    Args:
        config: the run's settings.
        training: False builds the generators alone.
        sizes: (height, width) of A's and of B's images; None where they differ, which goes without pools only; unset:
            squares of config.crop_size.
        jit_compile: compile losses and gradients with XLA; updates, pools and reductions over replicas stay outside,
            since XLA cannot update variables that live on several devices.
    """

    loss_names = ('D_A', 'G_A', 'cycle_A', 'idt_A', 'D_B', 'G_B', 'cycle_B', 'idt_B')
    metric_names = tuple(f'loss/{name}' for name in loss_names) + (
        'gradient_norm/G',
        'gradient_norm/D',
        'discriminator/D_A_real',
        'discriminator/D_A_fake',
        'discriminator/D_B_real',
        'discriminator/D_B_fake',
    )

    def __init__(
        self,
        config: Config,
        training: bool = True,
        sizes: Optional[Sequence[Optional[tuple[int, int]]]] = None,
        jit_compile: bool = False,
    ):
        super().__init__()
        self._config = config
        self._dtype = tf.as_dtype(tf.keras.backend.floatx())
        seeds = np.random.default_rng(config.seed).integers(2**31, size=4)
        initial = dict(norm=config.norm, init_type=config.init_type, init_gain=config.init_gain)
        generator = dict(initial, filters=config.ngf, use_dropout=not config.no_dropout)
        a, b = config.input_nc, config.output_nc
        self.g_a = make_generator(config.netG, a, b, seed=int(seeds[0]), **generator)
        self.g_b = make_generator(config.netG, b, a, seed=int(seeds[1]), **generator)
        self.step = tf.Variable(
            0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        if not training:
            return
        discriminator = dict(initial, filters=config.ndf, num_layers=config.n_layers_D)
        discriminator['twice_differentiable'] = config.gan_mode == 'wgangp'
        self.d_a = make_discriminator(config.netD, b, seed=int(seeds[2]), **discriminator)
        self.d_b = make_discriminator(config.netD, a, seed=int(seeds[3]), **discriminator)
        self.optimizer_g = Adam(config.lr, config.beta1, BETA_2, EPSILON, jit_compile=False)
        self.optimizer_d = Adam(config.lr, config.beta1, BETA_2, EPSILON, jit_compile=False)
        self.optimizer_g.build(self.generator_variables)
        self.optimizer_d.build(self.discriminator_variables)
        size_a, size_b = sizes or [(config.crop_size, config.crop_size)] * 2
        assert not config.pool_size or (size_a and size_b), 'a pool keeps images of one size'
        # A fake has the size of what it was made from.
        self.pool_a = ImagePool(config.pool_size, (*(size_b or ()), a), self._dtype)  # of fake_A
        self.pool_b = ImagePool(config.pool_size, (*(size_a or ()), b), self._dtype)  # of fake_B
        self.plateau = schedules.Plateau()
        self._adversarial = losses.adversarial(config.gan_mode)
        self._generator_part, self._discriminator_part = self.generator_gradients, self.discriminator_gradients
        if jit_compile:
            self._generator_part = tf.function(self._generator_part, jit_compile=True)
            self._discriminator_part = tf.function(self._discriminator_part, jit_compile=True)

    @property
    def generator_variables(self) -> list[tf.Variable]:
        return self.g_a.trainable_variables + self.g_b.trainable_variables

    @property
    def discriminator_variables(self) -> list[tf.Variable]:
        return self.d_a.trainable_variables + self.d_b.trainable_variables

    # ----------------------------------------------------------------------------------------------------- the step
    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """See models.interface. The fakes that the discriminators see are from before the generators' update."""
        seed = tf.stack([tf.constant(self._config.seed, tf.int64), self.step.read_value()])
        seed = tf.random.experimental.stateless_fold_in(seed, 0)
        replica = tf.distribute.get_replica_context()

        (fake_a, fake_b), generator_losses, gradients = self._generator_part(real_a, real_b, seed)
        norm_g = self._update(replica, self.optimizer_g, gradients, self.generator_variables)

        pooled_b = self.pool_b.query(fake_b, fold(seed, _POOL_B))
        pooled_a = self.pool_a.query(fake_a, fold(seed, _POOL_A))
        rows = self._rows_of_replica(replica, self.mixing_numbers(seed))
        judged, discriminator_losses, gradients = self._discriminator_part(real_a, real_b, pooled_a, pooled_b, *rows)
        norm_d = self._update(replica, self.optimizer_d, gradients, self.discriminator_variables)

        self.step.assign_add(1)
        values = {**generator_losses, **discriminator_losses}
        means = replica.all_reduce(
            tf.distribute.ReduceOp.SUM, tf.stack([values[name] for name in self.loss_names] + judged)
        )
        count = len(self.loss_names)
        return tf.concat([means[:count], [norm_g, norm_d], means[count:]], axis=0)

    def generator_gradients(self, real_a: tf.Tensor, real_b: tf.Tensor, seed: tf.Tensor):
        """Forward pass, losses and gradients of both generators on this replica's share of the batch.

        Returns:
            (fake_a, fake_b); this replica's part of the losses by name; gradients as generator_variables. Parts of
            all replicas add up to the means over the global batch.
        """
        config = self._config
        total_seed = fold(seed, _DROPOUT)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.generator_variables)
            # The order of the calls is the reference's, which batch norm's running statistics remember.
            fake_b = self.g_a(real_a, training=True, seed=fold(total_seed, 0))
            rec_a = self.g_b(fake_b, training=True, seed=fold(total_seed, 1))
            fake_a = self.g_b(real_b, training=True, seed=fold(total_seed, 2))
            rec_b = self.g_a(fake_a, training=True, seed=fold(total_seed, 3))
            values = {}
            if config.lambda_identity > 0:
                idt_a = self.g_a(real_b, training=True, seed=fold(total_seed, 4))
                values['idt_A'] = losses.l1(idt_a, real_b) * (config.lambda_B * config.lambda_identity)
                idt_b = self.g_b(real_a, training=True, seed=fold(total_seed, 5))
                values['idt_B'] = losses.l1(idt_b, real_a) * (config.lambda_A * config.lambda_identity)
            else:
                values['idt_A'] = values['idt_B'] = tf.zeros_like(losses.l1(rec_a, real_a))
            values['G_A'] = self._adversarial(self.d_a(fake_b, training=True), True)
            values['G_B'] = self._adversarial(self.d_b(fake_a, training=True), True)
            values['cycle_A'] = losses.l1(rec_a, real_a) * config.lambda_A
            values['cycle_B'] = losses.l1(rec_b, real_b) * config.lambda_B
            values = {name: self._share(value) for name, value in values.items()}
            total = tf.add_n(list(values.values()))
        return (fake_a, fake_b), values, tape.gradient(total, self.generator_variables)

    def discriminator_gradients(self, real_a, real_b, fake_a, fake_b, mix_a, mix_b):
        """Losses and gradients of both discriminators on this replica's share of the batch.

        Args:
            real_a, real_b, fake_a, fake_b: images; no gradient flows into the fakes.
            mix_a, mix_b: float [replica_batch] in [0, 1], for the gradient penalties on domains A and B.

        Returns:
            The mean outputs of D_A on real and fake, of D_B on real and fake; the losses by name; gradients as
            discriminator_variables. All are this replica's parts.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.discriminator_variables)
            loss_a, judged_a = self._judge(self.d_a, real_b, fake_b, mix_b)
            loss_b, judged_b = self._judge(self.d_b, real_a, fake_a, mix_a)
            total = loss_a + loss_b
        return judged_a + judged_b, {'D_A': loss_a, 'D_B': loss_b}, tape.gradient(total, self.discriminator_variables)

    def _judge(self, discriminator, real, fake, mix):
        on_real = discriminator(real, training=True)
        on_fake = discriminator(fake, training=True)
        loss = 0.5 * (self._adversarial(on_real, True) + self._adversarial(on_fake, False))
        if self._config.gan_mode == 'wgangp':
            # Departs from the reference: it defines the penalty but never adds it, so that its wgangp diverges.
            critic = lambda images: discriminator(images, training=True)  # noqa: E731
            loss += self._config.lambda_gp * losses.gradient_penalty(critic, real, fake, mix)
        judged = [self._share(losses.mean_per_example(on_real)), self._share(losses.mean_per_example(on_fake))]
        return self._share(loss), judged

    def _share(self, per_example: tf.Tensor) -> tf.Tensor:
        """[replica_batch] -> this replica's part of the mean over the global batch: the one place that divides."""
        return tf.reduce_sum(per_example) / self._config.batch_size

    def _update(self, replica, optimizer, gradients, variables) -> tf.Tensor:
        """Applies the sum of all replicas' gradients; returns its norm over all variables."""
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        optimizer.apply_gradients(zip(gradients, variables), skip_gradients_aggregation=True)
        return tf.linalg.global_norm(gradients)

    def mixing_numbers(self, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Float [global_batch] each, for the gradient penalties on domains A and B; multiples of 2**-24."""
        return tuple(
            tf.cast(
                tf.random.stateless_uniform([self._config.batch_size], fold(seed, use), 0, 2**24, tf.int32), self._dtype
            )
            / 2**24
            for use in (_MIX_A, _MIX_B)
        )

    def _rows_of_replica(self, replica, tensors):
        rows = self._config.batch_size // replica.num_replicas_in_sync
        first = replica.replica_id_in_sync_group * rows
        return [tensor[first : first + rows] for tensor in tensors]

    # -------------------------------------------------------------------------------------------------- the schedule
    def start_epoch(self, epoch: int) -> None:
        """See models.interface."""
        config = self._config
        factor = {
            'linear': lambda: schedules.linear(epoch, config.n_epochs, config.n_epochs_decay),
            'step': lambda: schedules.step(epoch, config.lr_decay_iters),
            'cosine': lambda: schedules.cosine(epoch, config.n_epochs),
            'plateau': lambda: float(self.plateau.factor.numpy()),
        }[config.lr_policy]()
        for optimizer in (self.optimizer_g, self.optimizer_d):
            optimizer.learning_rate = config.lr * factor

    def end_epoch(self, means: Mapping[str, float]) -> None:
        """See models.interface."""
        names = ('G_A', 'G_B', 'cycle_A', 'cycle_B', 'idt_A', 'idt_B')
        self.plateau.update(sum(means[f'loss/{name}'] for name in names))

    def learning_rates(self) -> dict[str, float]:
        """See models.interface."""
        return {
            'learning_rate/G': float(self.optimizer_g.learning_rate.numpy()),
            'learning_rate/D': float(self.optimizer_d.learning_rate.numpy()),
        }

    # -------------------------------------------------------------------------------------------------- what is seen
    def networks(self) -> dict[str, tf.keras.Model]:
        """See models.interface."""
        return {'G_A': self.g_a, 'G_B': self.g_b, 'D_A': self.d_a, 'D_B': self.d_b}

    def translators(self) -> dict[str, tf.keras.Model]:
        """See models.interface."""
        if self._config.direction == 'BtoA':
            return {'AtoB': self.g_b, 'BtoA': self.g_a}
        return {'AtoB': self.g_a, 'BtoA': self.g_b}

    def visuals(self, real_a: tf.Tensor, real_b: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        """See models.interface. The identity picture is left out where the channels of A and B differ."""
        fake_b, fake_a = self.g_a(real_a), self.g_b(real_b)
        rows = {
            'A_to_B': {'real_A': real_a, 'fake_B': fake_b, 'rec_A': self.g_b(fake_b)},
            'B_to_A': {'real_B': real_b, 'fake_A': fake_a, 'rec_B': self.g_a(fake_a)},
        }
        if self._config.input_nc == self._config.output_nc:
            rows['A_to_B']['idt_B'] = self.g_b(real_a)
            rows['B_to_A']['idt_A'] = self.g_a(real_b)
        return rows


def fold(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Another seed, [2], for each number."""
    return tf.random.experimental.stateless_fold_in(seed, tf.constant(number, seed.dtype))

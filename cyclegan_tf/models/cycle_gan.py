"""CycleGAN: four networks, two optimizers, two pools, one step (Zhu et al. 2017, as the reference trains it)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf import losses, schedules
from cyclegan_tf.config import Config
from cyclegan_tf.draws import fold, integers, split
from cyclegan_tf.errors import UserError
from cyclegan_tf.image_pool import ImagePool
from cyclegan_tf.loss_scale import LossScale
from cyclegan_tf.models import parts
from cyclegan_tf.networks import make_discriminator, make_generator
from cyclegan_tf.optimizers import Adam
from cyclegan_tf.ordering import after

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
        jit_compile: for XLA. With one replica the whole step is to be compiled, by who calls it (compile_whole); with
            several each one's losses and gradients are, and updates, pools and reductions stay outside, since XLA
            cannot update variables that live on several devices.
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
        initial = {name: getattr(config, name) for name in ('norm', 'init_type', 'init_gain', 'precision')}
        generator = dict(
            initial, filters=config.ngf, use_dropout=not config.no_dropout, recompute_grads=config.recompute_grads
        )
        a, b = config.input_nc, config.output_nc
        self.g_a = make_generator(config.netG, a, b, seed=int(seeds[0]), **generator)
        self.g_b = make_generator(config.netG, b, a, seed=int(seeds[1]), **generator)
        self._draw_a, self._draw_b = _traced(self.g_a, a, self._dtype), _traced(self.g_b, b, self._dtype)
        self.step = tf.Variable(
            0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        self.compile_whole = jit_compile and not several
        if not training:
            return
        if config.gan_mode == 'wgangp' and config.precision == 'float16':
            # Its gradients are right where they are finite, but at the default weights not even a scale of 1 is sure
            # to make them so.
            raise UserError(
                '`precision` (float16) does not hold the gradients of the penalty of gan_mode wgangp; set it to '
                'bfloat16 or float32.'
            )
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
        self.loss_scale_g, self.loss_scale_d = (LossScale(config.precision == 'float16') for _ in range(2))
        self._adversarial = losses.adversarial(config.gan_mode)
        self._generator_part, self._discriminator_part = self.generator_gradients, self.discriminator_gradients
        # A function of its own is for micro-batches too, which then share one trace; batch norm over several replicas
        # cannot be in one.
        compile_parts = jit_compile and several
        if compile_parts or (config.accumulate_steps > 1 and not (config.norm == 'batch' and several)):
            # None and not False, which would keep them out of a whole that is compiled.
            compiled = functools.partial(tf.function, jit_compile=compile_parts or None, autograph=False)
            self._generator_part, self._discriminator_part = map(
                compiled, (self.generator_gradients, self.discriminator_gradients)
            )

    @property
    def generator_variables(self) -> list[tf.Variable]:
        return self.g_a.trainable_variables + self.g_b.trainable_variables

    @property
    def discriminator_variables(self) -> list[tf.Variable]:
        return self.d_a.trainable_variables + self.d_b.trainable_variables

    # ----------------------------------------------------------------------------------------------------- the step
    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """See models.interface. The fakes that the discriminators see are from before the generators' update."""
        real_a, real_b = tf.cast(real_a, self._dtype), tf.cast(real_b, self._dtype)
        seed = tf.stack([tf.constant(self._config.seed, tf.int64), self.step.read_value()])
        seed = fold(seed, 0)
        replica = tf.distribute.get_replica_context()

        (seeds,) = self._rows_of_replica(replica, [self._dropout_seeds(seed)])
        batches = self._config.accumulate_steps
        fakes, (generator_losses, gradients) = parts.accumulate(self._generator_part, batches, real_a, real_b, seeds)
        norm_g = self._update(self.optimizer_g, self.loss_scale_g, gradients, self.generator_variables)

        fake_a, fake_b = fakes
        pooled_b = self.pool_b.query(fake_b, fold(seed, _POOL_B))
        pooled_a = self.pool_a.query(fake_a, fold(seed, _POOL_A))
        rows = self._rows_of_replica(replica, self.mixing_numbers(seed))
        _, (judged, discriminator_losses, gradients) = parts.accumulate(
            self._discriminator_part, batches, real_a, real_b, pooled_a, pooled_b, *rows
        )
        norm_d = self._update(self.optimizer_d, self.loss_scale_d, gradients, self.discriminator_variables)

        self.step.assign_add(1)
        values = {**generator_losses, **discriminator_losses}
        (means,) = parts.sum_over_replicas([tf.stack([values[name] for name in self.loss_names] + judged)])
        count = len(self.loss_names)
        return tf.concat([means[:count], [norm_g, norm_d], means[count:]], axis=0)

    def generator_gradients(self, real_a: tf.Tensor, real_b: tf.Tensor, seeds: tf.Tensor):
        """Forward pass, losses and gradients of both generators on a micro-batch of this replica.

        One cycle after the other, and the identities after both, each with its gradients: so only one has to be in
        memory. The order is the reference's for each generator, which batch norm's running statistics remember.

        Args:
            real_a, real_b: images [b, h, w, c].
            seeds: int [b, 6, 2], for the dropout in each of the six calls.

        Returns:
            (fake_a, fake_b); and (its part of the losses by name, gradients as generator_variables). Parts of all
            micro-batches and replicas add up to the means over the global batch.
        """
        fake_b, so_far = self._cycle('A', self.g_a, self.g_b, self.d_a, real_a, seeds[:, 0], seeds[:, 1])
        (then_b,) = after(parts.tensors(so_far), [real_b])
        fake_a, part = self._cycle('B', self.g_b, self.g_a, self.d_b, then_b, seeds[:, 2], seeds[:, 3])
        so_far = parts.add(so_far, part)
        if self._config.lambda_identity > 0:
            # Each on images of the other domain.
            of_two = ('A', self.g_a, real_b, seeds[:, 4]), ('B', self.g_b, real_a, seeds[:, 5])
            for domain, generator, real, seed in of_two:
                (then_real,) = after(parts.tensors(so_far), [real])
                so_far = parts.add(so_far, self._identity(domain, generator, then_real, seed))
        else:
            so_far[0].update(dict.fromkeys(('idt_A', 'idt_B'), tf.zeros_like(so_far[0]['cycle_A'])))
        values, gradients = so_far
        return (fake_a, fake_b), (values, [gradients[variable.ref()] for variable in self.generator_variables])

    def _cycle(self, domain, there, back, discriminator, real, seeds_there, seeds_back):
        """There and back from images of one domain.

        Returns:
            The images there; and (losses by name, gradients by variable), both for these images' part.
        """
        config = self._config
        variables = there.trainable_variables + back.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            fake = there(real, training=True, seed=seeds_there)
            again = back(fake, training=True, seed=seeds_back)
            weight = {'A': config.lambda_A, 'B': config.lambda_B}[domain]
            values = {
                f'G_{domain}': self._share(self._adversarial(discriminator(fake, training=True), True)),
                f'cycle_{domain}': self._share(losses.l1(again, real) * weight),
            }
            total = self.loss_scale_g.scaled(tf.add_n(list(values.values())))
        return fake, parts.make_part(values, tape.gradient(total, variables), variables)

    def _identity(self, domain, generator, real, seeds):
        """A generator's images of what is its target already; returns losses and gradients as _cycle does."""
        config = self._config
        weight = {'A': config.lambda_B, 'B': config.lambda_A}[domain] * config.lambda_identity  # the reference's cross
        variables = generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = self._share(losses.l1(generator(real, training=True, seed=seeds), real) * weight)
            scaled = self.loss_scale_g.scaled(value)
        return parts.make_part({f'idt_{domain}': value}, tape.gradient(scaled, variables), variables)

    def discriminator_gradients(self, real_a, real_b, fake_a, fake_b, mix_a, mix_b):
        """Losses and gradients of both discriminators on a micro-batch of this replica.

        Args:
            real_a, real_b, fake_a, fake_b: images; no gradient flows into the fakes.
            mix_a, mix_b: float [b] in [0, 1], for the gradient penalties on domains A and B.

        Returns:
            No images; and (the mean outputs of D_A on real and fake, of D_B on real and fake; the losses by name;
            gradients as discriminator_variables). All are this micro-batch's parts.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.discriminator_variables)
            loss_a, judged_a = self._judge(self.d_a, real_b, fake_b, mix_b)
            loss_b, judged_b = self._judge(self.d_b, real_a, fake_a, mix_a)
            total = self.loss_scale_d.scaled(loss_a + loss_b)
        values = {'D_A': loss_a, 'D_B': loss_b}
        return (), (judged_a + judged_b, values, tape.gradient(total, self.discriminator_variables))

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
        """[b] -> these examples' part of the mean over the global batch: the one place that divides."""
        return tf.reduce_sum(per_example) / self._config.images_per_step

    def _update(self, optimizer, loss_scale, gradients, variables) -> tf.Tensor:
        """Applies the sum of all replicas' gradients; returns its norm over all variables, 0 of a skipped step.

        A step is skipped where its scaled gradients were too large for float16. Where the scale was 1 already, smaller
        ones cannot be had: then the norm is returned as it is, which is not finite, and stops the training.
        """
        gradients = parts.sum_over_replicas(gradients)
        if not loss_scale.used:
            optimizer.apply(gradients, variables)
            return tf.linalg.global_norm(gradients)
        gradients = loss_scale.unscaled(gradients)
        norm, helps = tf.linalg.global_norm(gradients), loss_scale.can_shrink()
        finite = loss_scale.update(gradients)
        optimizer.apply(gradients, variables, finite)
        return tf.where(finite | ~helps, norm, 0)

    def mixing_numbers(self, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Float [global_batch] each, for the gradient penalties on domains A and B; multiples of 2**-24."""
        return tuple(
            tf.cast(integers([self._config.images_per_step], fold(seed, use), 2**24), self._dtype) / 2**24
            for use in (_MIX_A, _MIX_B)
        )

    def _dropout_seeds(self, seed: tf.Tensor) -> tf.Tensor:
        """Int [global_batch, 6, 2]: for each image and each call of a generator."""
        count = self._config.images_per_step
        return tf.reshape(split(fold(seed, _DROPOUT), count * 6), [count, 6, 2])

    def _rows_of_replica(self, replica, tensors):
        rows = self._config.images_per_step // replica.num_replicas_in_sync
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
        """See models.interface; and what the losses are multiplied by, where they are."""
        rates = {
            'learning_rate/G': float(self.optimizer_g.learning_rate.numpy()),
            'learning_rate/D': float(self.optimizer_d.learning_rate.numpy()),
        }
        if self.loss_scale_g.used:
            rates['loss_scale/G'] = float(self.loss_scale_g.scale.numpy())
            rates['loss_scale/D'] = float(self.loss_scale_d.scale.numpy())
        return rates

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
        draw_a, draw_b = self._draw_a, self._draw_b
        fake_b, fake_a = draw_a(real_a), draw_b(real_b)
        rows = {
            'A_to_B': {'real_A': real_a, 'fake_B': fake_b, 'rec_A': draw_b(fake_b)},
            'B_to_A': {'real_B': real_b, 'fake_A': fake_a, 'rec_B': draw_a(fake_a)},
        }
        if self._config.input_nc == self._config.output_nc:
            rows['A_to_B']['idt_B'] = draw_b(real_a)
            rows['B_to_A']['idt_A'] = draw_a(real_b)
        return rows


def _traced(network: tf.keras.Model, channels: int, dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
    """A network at inference, traced once for images of all sizes; run step by step, TensorFlow loses memory each time.

    Behind a function of Python, so that a checkpoint does not list it.
    """
    function = tf.function(
        lambda x: network(x), input_signature=[tf.TensorSpec([None, None, None, channels], dtype)], autograph=False
    )
    return lambda x: function(x)

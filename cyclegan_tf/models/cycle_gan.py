"""CycleGAN: translation in both directions with cycle consistency (Zhu et al. 2017, trained as in the reference)."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from cyclegan_tf.models import gradients, losses
from cyclegan_tf.models.base import BaseModel, Size
from cyclegan_tf.models.image_pool import ImagePool
from cyclegan_tf.ops.ordering import after
from cyclegan_tf.ops.random import fold

# The uses of random numbers in a step; each folds its own number into the step's seed.
_POOL_A, _POOL_B, _MIX_A, _MIX_B, _DROPOUT, _AUGMENT_G, _AUGMENT_D = range(7)


class CycleGAN(BaseModel):
    """G_A: A -> B, G_B: B -> A; D_A judges images of B, D_B images of A. Args: as for BaseModel.

    Both generators are updated first; then both discriminators, on fakes made before that update or older ones from the
    pools.
    """

    players_of = {'G': ('G_A', 'G_B'), 'D': ('D_A', 'D_B')}
    loss_names = ('D_A', 'G_A', 'cycle_A', 'idt_A', 'D_B', 'G_B', 'cycle_B', 'idt_B')
    other_metrics = tuple(f'discriminator/D_{domain}_{kind}' for domain in 'AB' for kind in ('real', 'fake'))
    plateau_losses = ('G_A', 'G_B', 'cycle_A', 'cycle_B', 'idt_A', 'idt_B')

    def add_training_state(self, size_a: Size, size_b: Size) -> None:
        """Makes the pools of fake images of A and of B. A fake has the size of the image that it is translated from."""
        config = self._config
        assert not config.pool_size or (size_a and size_b), 'a pool keeps images of one size'
        self.pool_a = ImagePool(config.pool_size, (*(size_b or ()), config.channels['A']), self._dtype)
        self.pool_b = ImagePool(config.pool_size, (*(size_a or ()), config.channels['B']), self._dtype)

    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """See BaseModel."""
        real_a, real_b = tf.cast(real_a, self._dtype), tf.cast(real_b, self._dtype)
        seed = self.step_seed()

        seeds = self.rows_of_replica(
            self.dropout_seeds(fold(seed, _DROPOUT), calls=6), self.augment_seeds(fold(seed, _AUGMENT_G), calls=2)
        )
        fakes, (generator_values, grads) = self.accumulate(self.generator_gradients, real_a, real_b, *seeds)
        norms = self.update('G', grads)

        fake_a, fake_b = fakes
        pooled_b = self.pool_b.query(fake_b, fold(seed, _POOL_B))
        pooled_a = self.pool_a.query(fake_a, fold(seed, _POOL_A))
        others = self.rows_of_replica(*self.mixes(seed), self.augment_seeds(fold(seed, _AUGMENT_D), calls=2))
        _, (discriminator_values, grads) = self.accumulate(
            self.discriminator_gradients, real_a, real_b, pooled_a, pooled_b, *others
        )
        norms |= self.update('D', grads)

        return self.finish_step({**generator_values, **discriminator_values}, norms)

    def mixes(self, seed: tf.Tensor) -> list[tf.Tensor]:
        """Float [global_batch] in [0, 1) each, for the gradient penalties on domains A and B with this step's seed."""
        return [self.mixing_numbers(fold(seed, use)) for use in (_MIX_A, _MIX_B)]

    # ------------------------------------------------------------------------------------------------- the generators
    def generator_gradients(self, real_a: tf.Tensor, real_b: tf.Tensor, seeds: tf.Tensor, augment_seeds: tf.Tensor):
        """Forward pass, losses and gradients of both generators on a micro-batch of this replica.

        The cycles and then the identity losses are computed one after another, each with its gradients, so that only
        one is in memory at a time. Each generator is called in the reference's order, on which the running statistics
        of batch norm depend. With small images, a cycle and the identity loss of its first generator share a batch, see
        in_one_batch.

        Args:
            real_a, real_b: images [b, h, w, c].
            seeds: int [b, 6, 2], for the dropout in each of the six calls.
            augment_seeds: int [b, 2, 2], for what D_A and D_B see.

        Returns:
            (fake_a, fake_b); and (losses by tag, gradients in the order of variables_of('G')), as contributions to the
            means over the global batch.
        """
        critics = [self.critic(name, augment_seeds[:, i]) for i, name in enumerate(self.players_of['D'])]
        identity = self._config.lambda_identity > 0
        with_cycle = identity and self.in_one_batch('generator', real_a, real_b)
        own_a, own_b = [(real_b, seeds[:, 4]), (real_a, seeds[:, 5])] if with_cycle else [None, None]
        fake_b, total = self._cycle('A', self.g_a, self.g_b, critics[0], real_a, seeds[:, 0], seeds[:, 1], own_a)
        (then_b,) = after(gradients.tensors(total), [real_b])
        fake_a, part = self._cycle('B', self.g_b, self.g_a, critics[1], then_b, seeds[:, 2], seeds[:, 3], own_b)
        total = gradients.add(total, part)
        if identity and not with_cycle:
            # Each generator on images of its target domain.
            calls = ('A', self.g_a, real_b, seeds[:, 4]), ('B', self.g_b, real_a, seeds[:, 5])
            for domain, generator, real, seed in calls:
                (then_real,) = after(gradients.tensors(total), [real])
                total = gradients.add(total, self._identity(domain, generator, then_real, seed))
        elif not identity:
            total[0].update(dict.fromkeys(('loss/idt_A', 'loss/idt_B'), tf.zeros_like(total[0]['loss/cycle_A'])))
        values, grads = total
        return (fake_a, fake_b), (values, [grads[variable.ref()] for variable in self.variables_of('G')])

    def _cycle(self, domain, generator, inverse, critic, real, seeds, inverse_seeds, own=None):
        """Translates images of one domain to the other and back.

        Args:
            domain: of the images, 'A' or 'B'.
            generator, inverse: from the domain, and back.
            critic: judges the translated images.
            real: the images.
            seeds, inverse_seeds: for the dropout.
            own: images of the generator's target domain, and their seeds, for its identity loss; None: without it.

        Returns:
            The translated images; and (losses by tag, gradients by variable), as these images' contributions.
        """
        variables = generator.trainable_variables + inverse.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            if own is None:
                fake = generator(real, training=True, seed=seeds)
            else:
                self.kinds_in_one_batch.add('generator')
                images, all_seeds = (tf.concat(pair, axis=0) for pair in zip((real, seeds), own))
                fake, same = tf.split(generator(images, training=True, seed=all_seeds), 2)
            rec = inverse(fake, training=True, seed=inverse_seeds)
            weight = {'A': self._config.lambda_A, 'B': self._config.lambda_B}[domain]
            values = {
                f'loss/G_{domain}': self.mean(self.adversarial.of_generator(critic(fake))),
                f'loss/cycle_{domain}': self.mean(losses.l1(rec, real) * weight),
            }
            if own is not None:
                values[f'loss/idt_{domain}'] = self._identity_loss(domain, same, own[0])
            total = self.scaled('G', tf.add_n(list(values.values())))
        return fake, gradients.make_part(values, tape.gradient(total, variables), variables)

    def _identity(self, domain, generator, real, seeds):
        """Applies a generator to images of its target domain; returns losses and gradients as _cycle does."""
        variables = generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = self._identity_loss(domain, generator(real, training=True, seed=seeds), real)
            scaled = self.scaled('G', value)
        return gradients.make_part({f'loss/idt_{domain}': value}, tape.gradient(scaled, variables), variables)

    def _identity_loss(self, domain, same, real):
        # The weights are crossed, as in the reference.
        config, weight = self._config, {'A': self._config.lambda_B, 'B': self._config.lambda_A}[domain]
        return self.mean(losses.l1(same, real) * weight * config.lambda_identity)

    # --------------------------------------------------------------------------------------------- the discriminators
    def discriminator_gradients(self, real_a, real_b, fake_a, fake_b, mix_a, mix_b, augment_seeds):
        """Losses and gradients of both discriminators on a micro-batch of this replica.

        Args:
            real_a, real_b, fake_a, fake_b: images; no gradient flows into the fakes.
            mix_a, mix_b: float [b] in [0, 1], for the gradient penalties on domains A and B.
            augment_seeds: int [b, 2, 2], for what D_A and D_B see.

        Returns:
            No images; and (losses and mean outputs by tag, gradients in the order of variables_of('D')), as
            generator_gradients does.
        """
        values, variables = {}, self.variables_of('D')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            calls = ('A', real_b, fake_b, mix_b), ('B', real_a, fake_a, mix_a)
            for index, (domain, *images) in enumerate(calls):
                critic = self.critic(f'D_{domain}', augment_seeds[:, index])
                tags = f'loss/D_{domain}', f'discriminator/D_{domain}_real', f'discriminator/D_{domain}_fake'
                values.update(zip(tags, self.discriminator_loss(critic, *images)))
            total = self.scaled('D', values['loss/D_A'] + values['loss/D_B'])
        return (), (values, tape.gradient(total, variables))

    # -------------------------------------------------------------------------------------------------------- pictures
    def visuals(self, real_a: tf.Tensor, real_b: tf.Tensor) -> Mapping[str, Mapping[str, tf.Tensor]]:
        """As in BaseModel, and the identity pictures if A and B have the same number of channels."""
        rows = super().visuals(real_a, real_b)
        if self._config.input_nc == self._config.output_nc:
            rows['A_to_B']['idt_B'] = self.infer('G_B', real_a)
            rows['B_to_A']['idt_A'] = self.infer('G_A', real_b)
        return rows

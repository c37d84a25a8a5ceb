"""pix2pix: translation learnt from pairs (Isola et al. 2017, trained as in the reference)."""

from __future__ import annotations

import tensorflow as tf

from cyclegan_tf.models import losses
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.networks.norms import frozen_statistics
from cyclegan_tf.ops.random import fold

# The uses of random numbers in a step; each folds its own number into the step's seed.
_DROPOUT, _MIX, _AUGMENT_D, _AUGMENT_G = range(4)


class Pix2Pix(BaseModel):
    """G: A -> B; D judges whether an image of B belongs to one of A. Args: as for BaseModel.

    D is updated first; then G, against the updated D.
    """

    players_of = {'G': ('G',), 'D': ('D',)}
    loss_names = ('G_GAN', 'G_L1', 'D_real', 'D_fake')
    other_metrics = ('discriminator/D_real', 'discriminator/D_fake')
    plateau_losses = ('G_GAN', 'G_L1')

    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """See BaseModel."""
        real_a, real_b = tf.cast(real_a, self._dtype), tf.cast(real_b, self._dtype)
        seed = self.step_seed()
        seeds, mix, of_d, of_g = self.rows_of_replica(
            self.dropout_seeds(fold(seed, _DROPOUT), calls=1),
            self.mixing_numbers(fold(seed, _MIX)),
            self.augment_seeds(fold(seed, _AUGMENT_D), calls=1)[:, 0],
            self.augment_seeds(fold(seed, _AUGMENT_G), calls=1)[:, 0],
        )
        if self._config.accumulate_steps > 1:
            # The translations are made twice, with the same dropout: the second time against the updated D.
            _, (values, grads) = self.accumulate(self.discriminator_gradients_anew, real_a, real_b, seeds, mix, of_d)
            norms = self.update('D', grads)
            _, (generator_values, grads) = self.accumulate(self.generator_gradients, real_a, real_b, seeds, of_g)
        else:
            variables = self.variables_of('G')
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                fake_b = self.as_function(self.translate)(real_a, seeds)
                fixed_b = tf.stop_gradient(fake_b)
                values, grads = self.as_function(self.discriminator_gradients)(real_a, real_b, fixed_b, mix, of_d)
                norms = self.update('D', grads)
                total, generator_values = self.as_function(self.generator_losses)(real_a, real_b, fake_b, of_g)
            grads = tape.gradient(total, variables)
        norms |= self.update('G', grads)
        return self.finish_step({**values, **generator_values}, norms)

    def translate(self, real_a: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """fake_B of a batch in training; seeds, int [b, 1, 2], are for the dropout."""
        return self.g(real_a, training=True, seed=seeds[:, 0])

    # ---------------------------------------------------------------------------------------------- the discriminator
    def discriminator_gradients(
        self, real_a: tf.Tensor, real_b: tf.Tensor, fake_b: tf.Tensor, mix: tf.Tensor, augment_seeds: tf.Tensor
    ):
        """Losses and gradients of D on a micro-batch of this replica.

        Args:
            real_a, real_b, fake_b: images [b, h, w, c]; no gradient flows into the fakes.
            mix: float [b] in [0, 1], for a gradient penalty.
            augment_seeds: int [b, 2], for what D sees.

        Returns:
            Losses and mean outputs by tag, and gradients in the order of variables_of('D'), as contributions to the
            means over the global batch.
        """
        variables = self.variables_of('D')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            pairs = [tf.concat([real_a, image], axis=-1) for image in (real_b, fake_b)]
            loss, values = self.discriminator_values(self.critic('D', augment_seeds), *pairs, mix)
            scaled = self.scaled('D', loss)
        return values, tape.gradient(scaled, variables)

    def discriminator_gradients_anew(self, real_a, real_b, seeds, mix, augment_seeds):
        """discriminator_gradients on translations that are made for it; no images."""
        with frozen_statistics():  # they move when the translations are made again
            fake_b = self.translate(real_a, seeds)
        return (), self.discriminator_gradients(real_a, real_b, fake_b, mix, augment_seeds)

    # -------------------------------------------------------------------------------------------------- the generator
    def generator_losses(self, real_a: tf.Tensor, real_b: tf.Tensor, fake_b: tf.Tensor, augment_seeds: tf.Tensor):
        """G's loss on a micro-batch of this replica, to be differentiated; and its parts by tag, as contributions to
        the means over the global batch. Args: as for discriminator_gradients."""
        logits = self.critic('D', augment_seeds)(tf.concat([real_a, fake_b], axis=-1))
        values = {
            'loss/G_GAN': self.mean(self.adversarial.of_generator(logits)),
            'loss/G_L1': self.mean(losses.l1(fake_b, real_b) * self._config.lambda_L1),
        }
        return self.scaled('G', tf.add_n(list(values.values()))), values

    def generator_gradients(self, real_a: tf.Tensor, real_b: tf.Tensor, seeds: tf.Tensor, augment_seeds: tf.Tensor):
        """No images; and (losses by tag, gradients in the order of variables_of('G')) of a micro-batch."""
        variables = self.variables_of('G')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            total, values = self.generator_losses(real_a, real_b, self.translate(real_a, seeds), augment_seeds)
        return (), (values, tape.gradient(total, variables))

"""CUT and FastCUT: translation in one direction that keeps what is where, by contrast of patches (Park et al. 2020)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import losses
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.networks import make_patch_features, torch_weights
from cyclegan_tf.networks.norms import frozen_statistics
from cyclegan_tf.networks.patch_features import choose_positions
from cyclegan_tf.networks.shapes import sides
from cyclegan_tf.ops.ordering import after
from cyclegan_tf.ops.random import fold, integers

# The uses of random numbers in a step; each folds its own number into the step's seed.
_DROPOUT, _MIX, _FLIP, _POSITIONS, _POSITIONS_IDT, _AUGMENT_D, _AUGMENT_G = range(7)
# The calls of G in a step, each with its own dropout: both halves of the pass that makes images, and the features of
# queries and of keys.
_FAKE, _IDT, _QUERY, _KEY, _QUERY_IDT, _KEY_IDT = range(6)


class CUT(BaseModel):
    """G: A -> B; D judges images of B; F makes the features of patches comparable. Args: as for BaseModel.

    D is updated first; then G and F together, against the updated D.
    """

    backward_groups = {'G': ('G', 'F')}
    other_metrics = ('discriminator/D_real', 'discriminator/D_fake')
    plateau_losses = ('G',)

    @property
    def players_of(self) -> Mapping[str, Sequence[str]]:
        """See BaseModel; without F where that has no weights."""
        return {name: (name,) for name in ('G', 'F', 'D') if name != 'F' or self._config.netF == 'mlp_sample'}

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """See BaseModel."""
        return {'G': tuple(name for name in self.players_of if name != 'D'), 'D': ('D',)}

    @property
    def loss_names(self) -> Sequence[str]:
        """See BaseModel."""
        return ('G_GAN', 'D_real', 'D_fake', 'G', 'NCE', *(['NCE_Y'] if self._config.nce_idt else []))

    def make_network(self, name: str, seed: int, for_tiles: bool = False) -> tf.keras.Model:
        """See BaseModel."""
        config = self._config
        if config.networks[name].kind != 'patch_features':
            return super().make_network(name, seed, for_tiles)
        if config.nce_indices[-1] >= self.g.num_layers:
            raise UserError(
                f"`nce_layers` ('{config.nce_layers}') contains {config.nce_indices[-1]}, but the layers of netG "
                f'{config.netG} are numbered from 0 to {self.g.num_layers - 1}; lower it.'
            )
        side = max(config.least_side, 32)
        maps = self.g(tf.zeros([1, side, side, config.input_nc], self._dtype), layers=config.nce_indices)
        channels = [x.shape[-1] for x in maps]
        return make_patch_features(config.netF, channels, config.netF_nc, config.init_type, config.init_gain, seed)

    def kind(self, name: str) -> str:
        """See BaseModel."""
        return self._config.netF if name == 'F' else super().kind(name)

    def slots(self, name: str) -> Optional[list[torch_weights.Slot]]:
        """See BaseModel."""
        if name != 'F':
            return super().slots(name)
        has_weights = self._config.netF == 'mlp_sample'
        return torch_weights.patch_features_slots(len(self._config.nce_indices)) if has_weights else None

    # -------------------------------------------------------------------------------------------------------- the step
    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """See BaseModel."""
        real_a, real_b = tf.cast(real_a, self._dtype), tf.cast(real_b, self._dtype)
        seed = self.step_seed()
        seeds, mix, of_d, of_g = self.rows_of_replica(
            self.dropout_seeds(fold(seed, _DROPOUT), calls=6),
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
            variables, with_b = self.variables_of('G'), None if self._identity_apart else real_b
            function = (lambda method: method) if self._gathers else self.as_function
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                fakes, features = self.as_function(self.translate)(real_a, with_b, seeds)
                fixed_b = tf.stop_gradient(fakes[0])
                values, grads = self.as_function(self.discriminator_gradients)(real_b, fixed_b, mix, of_d)
                norms = self.update('D', grads)
                total, generator_values = function(self.generator_losses)(real_a, with_b, fakes, features, seeds, of_g)
            generator_values, grads = self._add_identity(
                function(self.identity_gradients), real_b, seeds, generator_values, tape.gradient(total, variables)
            )
        norms |= self.update('G', grads)
        return self.finish_step({**values, **generator_values}, norms)

    @property
    def _gathers(self) -> bool:
        """Whether keys are gathered from several replicas, which XLA cannot compile."""
        several = tf.distribute.get_replica_context().num_replicas_in_sync > 1
        return several and self._config.nce_includes_all_negatives_from_minibatch

    @functools.cached_property
    def _identity_apart(self) -> bool:
        """Whether the losses of nce_idt have passes of their own, after the gradients of all others, so that only the
        activations of one image are in memory at a time. On GPUs, which are made for large batches, both images are in
        one batch, as in the reference; and batch norm has statistics of both."""
        batched = self._config.norms['generator'].startswith('batch') or tf.config.list_physical_devices('GPU')
        return self._config.nce_idt and not batched

    @functools.cached_property
    def _keeps_features(self) -> bool:
        """Whether the pass that makes translations passes the features on which keys are made: those of a pass of its
        own are the same, unless that sees mirrored images, other dropout, or a batch of other images."""
        config = self._config
        differs = config.flip_equivariance or not config.no_dropout or config.norms['generator'].startswith('batch')
        keeps_layers = getattr(self.g, 'keeps_layers', None)  # a generator of one's own may lack it
        return not differs and keeps_layers is not None and keeps_layers(config.nce_indices)

    def translate(
        self, real_a: Optional[tf.Tensor], real_b: Optional[tf.Tensor], seeds: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[list[tf.Tensor]]]:
        """fake_B and, with nce_idt, idt_B of a batch in training, mirrored in the steps that are; and for each the
        features of the images that they were made of, without a gradient, or none for both: see _keeps_features.

        Args:
            real_a, real_b: images [b, h, w, c]; None: none are made of them.
            seeds: int [b, 6, 2], for the dropout in each call of G.
        """
        images, of_images = [], []
        for real, call in ((real_a, _FAKE), (real_b if self._config.nce_idt else None, _IDT)):
            if real is not None:
                images, of_images = [*images, self._mirrored(real)], [*of_images, seeds[:, call]]
        layers = (*self._config.nce_indices, self.g.num_layers - 1) if self._keeps_features else ()

        def outputs(x, seed):
            return tf.nest.flatten(self.g(x, training=True, seed=seed, layers=layers))

        if not images[0].shape.is_fully_defined() or images[0].shape != images[-1].shape:
            # Images that may differ in size do not fit into one batch, which makes a difference for batch norm alone.
            of_each = list(map(outputs, images, of_images))
        else:
            self.kinds_in_one_batch |= {'generator'} if len(images) > 1 else set()
            together = outputs(tf.concat(images, axis=0), tf.concat(of_images, axis=0))
            of_each = list(zip(*(tf.split(x, len(images)) for x in together)))
        features = [[tf.stop_gradient(x) for x in maps] for *maps, _ in of_each]
        return [fake for *_, fake in of_each], features

    def _mirrored(self, x: tf.Tensor) -> tf.Tensor:
        """Mirrored left to right in half of the steps with flip_equivariance, on all replicas alike."""
        if not self._config.flip_equivariance:
            return x
        is_mirrored = integers([], fold(self.step_seed(), _FLIP), 2) == 1
        return tf.where(is_mirrored, tf.reverse(x, axis=[2]), x)

    # ---------------------------------------------------------------------------------------------- the discriminator
    def discriminator_gradients(self, real_b: tf.Tensor, fake_b: tf.Tensor, mix: tf.Tensor, augment_seeds: tf.Tensor):
        """Losses and gradients of D on a micro-batch of this replica.

        Args:
            real_b, fake_b: images [b, h, w, c]; no gradient flows into the fakes.
            mix: float [b] in [0, 1], for a gradient penalty.
            augment_seeds: int [b, 2], for what D sees.

        Returns:
            Losses and mean outputs by tag, and gradients in the order of variables_of('D'), as contributions to the
            means over the global batch.
        """
        variables = self.variables_of('D')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss, values = self.discriminator_values(self.critic('D', augment_seeds), real_b, fake_b, mix)
            scaled = self.scaled('D', loss)
        return values, tape.gradient(scaled, variables)

    def discriminator_gradients_anew(self, real_a, real_b, seeds, mix, augment_seeds):
        """discriminator_gradients on translations that are made for it; no images."""
        with frozen_statistics():  # they move when the translations are made again
            (fake_b, *_), _ = self.translate(real_a, None if self._identity_apart else real_b, seeds)
        return (), self.discriminator_gradients(real_b, fake_b, mix, augment_seeds)

    # ------------------------------------------------------------------------------------------------ generator and F
    def generator_losses(
        self,
        real_a: tf.Tensor,
        real_b: Optional[tf.Tensor],
        fakes: Sequence[tf.Tensor],
        features: Sequence[Sequence[tf.Tensor]],
        seeds: tf.Tensor,
        augment_seeds: tf.Tensor,
    ):
        """The loss of G and F on a micro-batch of this replica, to be differentiated; and its parts by tag, as
        contributions to the means over the global batch.

        Args:
            real_a, real_b, seeds: as for `translate`.
            fakes, features: its result; without the identity images, their loss is not among these.
            augment_seeds: int [b, 2], for what D sees.
        """
        logits = self.critic('D', augment_seeds)(fakes[0])
        gan = self.mean(self.adversarial.of_generator(logits) * self._config.lambda_GAN)
        values = {'loss/G_GAN': gan}
        values['loss/NCE'] = contrast = self._nce(
            real_a, features[0], fakes[0], _POSITIONS, seeds[:, _QUERY], seeds[:, _KEY]
        )
        if len(fakes) > 1:
            values['loss/NCE_Y'] = self._identity(real_b, features[1], fakes[1], seeds)
            contrast += values['loss/NCE_Y']
        values['loss/G'] = gan + contrast * self._share
        return self.scaled('G', values['loss/G']), values

    @property
    def _share(self) -> float:
        """Of NCE, and of NCE_Y if there is one, in G's loss."""
        return 0.5 if self._config.nce_idt else 1.0

    def _identity(self, real_b, features, idt_b, seeds) -> tf.Tensor:
        """NCE_Y."""
        return self._nce(real_b, features, idt_b, _POSITIONS_IDT, seeds[:, _QUERY_IDT], seeds[:, _KEY_IDT])

    def identity_gradients(self, real_b: tf.Tensor, seeds: tf.Tensor):
        """NCE_Y of a micro-batch of this replica, and the gradients of its share in the order of variables_of('G').

        Args:
            real_b, seeds: as for `translate`.
        """
        variables = self.variables_of('G')
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            (idt_b,), (features,) = self.translate(None, real_b, seeds)
            value = self._identity(real_b, features, idt_b, seeds)
            scaled = self.scaled('G', value * self._share)
        return value, tape.gradient(scaled, variables)

    def _add_identity(self, identity_gradients, real_b, seeds, values, grads):
        """Losses by tag and gradients of G, with those of nce_idt if it is apart: these are made after the others."""
        if not self._identity_apart:
            return values, grads
        (then_b,) = after(grads, [real_b])
        value, more = identity_gradients(then_b, seeds)
        total = values['loss/G'] + value * self._share
        return {**values, 'loss/NCE_Y': value, 'loss/G': total}, [one + other for one, other in zip(grads, more)]

    def generator_gradients(self, real_a: tf.Tensor, real_b: tf.Tensor, seeds: tf.Tensor, augment_seeds: tf.Tensor):
        """No images; and (losses by tag, gradients in the order of variables_of('G')) of a micro-batch."""
        variables, with_b = self.variables_of('G'), None if self._identity_apart else real_b
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            made = self.translate(real_a, with_b, seeds)
            total, values = self.generator_losses(real_a, with_b, *made, seeds, augment_seeds)
        grads = tape.gradient(total, variables)
        return (), self._add_identity(self.identity_gradients, real_b, seeds, values, grads)

    def _nce(self, source, features, target, use, of_query, of_key) -> tf.Tensor:
        """PatchNCE between images and their translations, with its weight: the mean over the layers. `features` are
        those of the images, or none where they have still to be computed; `use` is that of the random positions."""
        config, seed = self._config, fold(self.step_seed(), use)
        queries = self.g(target, training=True, seed=of_query, layers=config.nce_indices)
        queries = [self._mirrored(x) for x in queries]  # a translation that was mirrored is mirrored back
        keys = features or self.g(source, training=True, seed=of_key, layers=config.nce_indices)
        totals = [height * width for _, height, width, _ in map(sides, keys)]
        positions = [choose_positions(fold(seed, i), total, config.num_patches) for i, total in enumerate(totals)]
        queries = self.f(queries, positions, training=True)
        keys = [tf.stop_gradient(x) for x in self.f(keys, positions, training=True)]
        of_layers = [self._contrast(*pair) for pair in zip(queries, keys)]
        return self.mean(tf.add_n(of_layers) * (config.lambda_NCE / len(of_layers)))

    def _contrast(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """[b, n, d] each -> [b]."""
        if not self._config.nce_includes_all_negatives_from_minibatch:
            return losses.patch_nce(queries, keys, self._config.nce_T)
        replica = tf.distribute.get_replica_context()
        several = replica.num_replicas_in_sync > 1
        all_keys = replica.all_gather(keys, axis=0) if several else keys
        first = replica.replica_id_in_sync_group * keys.shape[0] if several else 0
        return losses.patch_nce_of_batch(queries, keys, all_keys, first, self._config.nce_T)

    # -------------------------------------------------------------------------------------------------------- pictures
    def visuals(self, real_a: tf.Tensor, real_b: tf.Tensor) -> Mapping[str, Mapping[str, tf.Tensor]]:
        """As in BaseModel, and with nce_idt the identity picture."""
        rows = super().visuals(real_a, real_b)
        if self._config.nce_idt:
            rows['A_to_B']['idt_B'] = self.infer('G', real_b)
        return rows

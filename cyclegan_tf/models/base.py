"""BaseModel: what all models share, from networks, players and translations to the tools of a training step."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import averages, diffaugment, gradients, losses, schedules
from cyclegan_tf.models.adam import Adam
from cyclegan_tf.models.loss_scale import LossScale
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.networks import make_discriminator, make_generator, test_time, torch_weights
from cyclegan_tf.networks.convolutions import update_singular_vectors
from cyclegan_tf.ops.random import fold, integers, split
from cyclegan_tf.settings.training import Config

EPSILON = 1e-8  # PyTorch's Adam; Keras's default is 1e-7

Size = Optional[tuple[int, int]]
"""Height and width of a domain's images; None if they differ."""


@dataclasses.dataclass(frozen=True)
class Player:
    """Networks that one optimizer trains, such as 'G': both generators of CycleGAN.

    Attributes:
        name: as in the reference, after 'optimizer_'.
        networks: name -> network.
        optimizer: built for `variables`.
    """

    name: str
    networks: Mapping[str, tf.keras.Model]
    optimizer: Adam

    @property
    def variables(self) -> list[tf.Variable]:
        """The trainable variables, network by network."""
        return [variable for network in self.networks.values() for variable in network.trainable_variables]


class BaseModel(tf.Module):
    """A model. Its state is what tf.train.Checkpoint(model=model) finds; a subclass defines its training step.

    A subclass names its players and losses in class attributes, and writes `train_step` with the tools below. "A" is
    the domain that the model starts from: with config.direction BtoA, it is the data set's B. Only `translations` uses
    the data set's names. Images are float [batch, height, width, channels] in [-1, 1] everywhere.

    Each network of config.networks is an attribute with its name in lower case (g_a), each player's optimizer is
    optimizer_NAME, and each backward group's loss scale is loss_scale_NAME. In training with config.ema_decay, the
    running mean of a generator is average_g_a; it takes the generator's place in `translations` and `infer`.

    Args:
        config: the run's settings.
        training: False builds only the generators.
        networks: with training=False, the names of the generators to build; None: all. `translations` has those of
            these alone.
        sizes: sizes of the training images of A and of B; None: squares of config.crop_size.
        jit_compile: compile with XLA. With one replica, the caller compiles the whole step (see compile_whole). With
            several, the losses and gradients of each replica are compiled, but not the updates, pools and reductions,
            since XLA cannot update variables that live on several devices.
    """

    players_of: ClassVar[Mapping[str, Sequence[str]]]
    """Player -> names of its networks."""

    backward_groups: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Group -> players that share a loss, a tape and a loss scale; all of them are updated, or all skip the step. A
    player in no group forms one under its own name."""

    loss_names: ClassVar[Sequence[str]]
    """Losses that are reported on the terminal and, with the prefix 'loss/', in TensorBoard."""

    other_metrics: ClassVar[Sequence[str]] = ()
    """TensorBoard tags of further means over the batch."""

    plateau_losses: ClassVar[Sequence[str]]
    """Losses whose sum lr_policy plateau expects to fall."""

    most_pixels_in_one_batch: ClassVar[Mapping[str, int]] = {'generator': 1 << 14, 'discriminator': 1 << 13}
    """Kind of network -> maximum number of pixels up to which batches are joined, see in_one_batch; measured on
    two CPU cores with 16 and 32 filters. A model whose networks look at several images at once, other than by batch
    norm, has 0 for their kind."""

    def __init__(
        self,
        config: Config,
        training: bool = True,
        sizes: Optional[Sequence[Size]] = None,
        jit_compile: bool = False,
        networks: Optional[Collection[str]] = None,
    ):
        super().__init__()
        self._config = config
        self._dtype = tf.as_dtype(tf.keras.backend.floatx())
        seeds = np.random.default_rng(config.seed).integers(2**31, size=len(config.networks))
        for (name, role), seed in zip(config.networks.items(), seeds):
            if training or (role.kind == 'generator' and (networks is None or name in networks)):
                setattr(self, name.lower(), self.make_network(name, int(seed)))
        if training and config.ema_decay:
            for (name, role), seed in zip(config.networks.items(), seeds):
                if role.kind == 'generator':
                    setattr(self, averages.attribute(name), self.make_network(name, int(seed)))
        self.kinds_in_one_batch: set[str] = set()
        """Kinds of networks that a step which was traced calls once on images of several passes."""
        self._infer = _Inference({**self.networks(), **self.averages()}, self._dtype, config)
        self.step = tf.Variable(
            0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        self.compile_whole = jit_compile and not several
        """Whether the caller should compile all of train_step with XLA, which takes a single replica."""
        if not training:
            return
        if config.penalises_gradients and config.precision == 'float16':
            # The penalty's gradients are correct where they are finite, but with the default weights not even a loss
            # scale of 1 guarantees that they are.
            raise UserError(
                f'`precision` (float16) cannot represent the gradients of the gradient penalty of '
                f'{config.penalises_gradients}; set it to bfloat16 or float32.'
            )
        self.players = self._make_players()
        for name in self.groups:
            setattr(self, f'loss_scale_{name.lower()}', LossScale(config.precision == 'float16'))
        self.plateau = schedules.Plateau()
        self.adversarial = losses.adversarial(config.gan_mode)
        self.add_training_state(*(sizes or [(config.crop_size, config.crop_size)] * 2))
        compile_parts = jit_compile and several
        # Functions are also for micro-batches, which then share one trace. Batch norm over several replicas cannot be
        # inside a function.
        reduces = several and 'batch' in config.norms.values()
        as_functions = compile_parts or (config.accumulate_steps > 1 and not reduces)
        # None instead of False, which would exclude the parts from an enclosing function that is compiled.
        self.as_function: Callable = _Functions(compile_parts or None) if as_functions else lambda method: method
        """Method, a part of the step -> what to call for it: the method itself, or a tf.function of it."""

    def add_training_state(self, size_a: Size, size_b: Size) -> None:
        """Makes further state for training, such as image pools; the sizes are those of the training images."""

    # --------------------------------------------------------------------------------- networks, players, translations
    def make_network(self, name: str, seed: int, for_tiles: bool = False) -> tf.keras.Model:
        """Makes the network that config.networks[name] describes, with initial weights.

        Args:
            name: name of the network.
            seed: fixes the initial weights.
            for_tiles: make a generator whose norms store the statistics of their input in training mode and use them
                outside it, see norms.ThumbnailInstanceNorm.
        """
        config = self._config
        role = config.networks[name]
        if role.kind not in ('generator', 'discriminator'):
            raise ValueError(f"network {name} is a '{role.kind}', which its model has to make: override make_network.")
        initial = {key: getattr(config, key) for key in ('init_type', 'init_gain', 'precision')}
        initial.update(norm=f'{config.norms[role.kind]}_thumbnail' if for_tiles else config.norms[role.kind])
        channels = sum(config.channels[domain] for domain in role.inputs)
        if role.kind == 'generator':
            return make_generator(
                config.netG,
                channels,
                config.channels[role.output],
                filters=config.ngf,
                use_dropout=not config.no_dropout,
                recompute_grads=config.recompute_grads and not for_tiles,
                seed=seed,
                downsample=config.downsample,
                upsample=config.upsample,
                learn_residual=config.learn_residual,
                learn_gain=config.learn_gain,
                n_downsampling=config.n_downsampling,
                **initial,
            )
        return make_discriminator(
            config.netD,
            channels,
            filters=config.ndf,
            num_layers=config.n_layers_D,
            twice_differentiable=config.penalises_gradients is not None,
            seed=seed,
            downsample=config.downsample,
            spectral_norm=config.spectral_norm,
            num_scales=config.num_D,
            **initial,
        )

    def kind(self, name: str) -> str:
        """The architecture of a network, for reports, such as 'resnet_9blocks'."""
        kind = self._config.networks[name].kind
        return {'generator': self._config.netG, 'discriminator': self._config.netD}.get(kind, kind)

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self._config

    def slots(self, name: str) -> Optional[list[torch_weights.Slot]]:
        """Where the weights of a network are in the files of the PyTorch programs; None if they have no such file."""
        config = self._config
        kind = config.networks[name].kind
        if kind == 'generator':
            if config.upsample == 'resize' or config.learn_residual or config.n_downsampling != 2:
                return None
            return torch_weights.generator_slots(config.netG, not config.no_dropout, *config.antialiased)
        if kind == 'discriminator' and not config.spectral_norm and config.num_D == 1:
            return torch_weights.discriminator_slots(config.netD, config.n_layers_D, config.antialiased[0])
        return None

    def networks(self) -> dict[str, tf.keras.Model]:
        """The networks that have been built, by their names in the reference."""
        names = {name: name.lower() for name in self._config.networks}
        return {name: getattr(self, attribute) for name, attribute in names.items() if hasattr(self, attribute)}

    def averages(self) -> dict[str, tf.keras.Model]:
        """The running means of the generators, by the generators' names; empty if none are kept."""
        names = {name: averages.attribute(name) for name in self._config.networks}
        return {name: getattr(self, attribute) for name, attribute in names.items() if hasattr(self, attribute)}

    def _make_players(self) -> Mapping[str, Player]:
        networks, players = self.networks(), {}
        for name, names in self.players_of.items():
            optimizer = Adam(
                self._config.lr,
                self._config.beta1,
                self._config.beta2,
                EPSILON,
                jit_compile=False,
                warmup_steps=self._config.warmup_steps,
            )
            setattr(self, f'optimizer_{name.lower()}', optimizer)
            players[name] = Player(name, {network: networks[network] for network in names}, optimizer)
            optimizer.build(players[name].variables)
        # A checkpoint does not list a proxy, so that it lists networks and optimizers once, as the model's attributes.
        return types.MappingProxyType(players)

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """Backward group -> its players."""
        grouped = {player for players in self.backward_groups.values() for player in players}
        return {**{name: (name,) for name in self.players_of if name not in grouped}, **self.backward_groups}

    def variables_of(self, group: str) -> list[tf.Variable]:
        """The variables that a backward group trains, player by player."""
        return [variable for name in self.groups[group] for variable in self.players[name].variables]

    @property
    def translations(self) -> dict[str, Translation]:
        """The model's translations by name, such as 'AtoB', in the data set's names."""
        config, translations = self._config, {}
        for name, network in config.translating_networks.items():
            source, target, role = name[0], name[-1], config.networks[network]
            assert len(role.inputs) == 1, 'a generator translates images of one domain'
            if network not in self.networks():
                continue
            inverse = f'{target}to{source}'
            translations[name] = Translation(
                name=name,
                network=self.averages().get(network, getattr(self, network.lower())),
                network_name=network,
                source=source,
                target=target,
                channels=(config.channels[role.inputs[0]], config.channels[role.output]),
                inverse=inverse if inverse in config.translating_networks else None,
            )
        return translations

    # -------------------------------------------------------------------------------------------------------- the step
    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """Does one step, in replica context, on this replica's share of the global batch.

        Returns:
            float [len(metric_names)], equal on all replicas: means over the global batch.
        """
        raise NotImplementedError

    @property
    def metric_names(self) -> tuple[str, ...]:
        """TensorBoard tags of the values that train_step returns, in the same order."""
        of_losses = (f'loss/{name}' for name in self.loss_names)
        return (*of_losses, *(f'gradient_norm/{name}' for name in self.players_of), *self.other_metrics)

    def step_seed(self) -> tf.Tensor:
        """The seed of everything random in this step, int32 [2]; fold a different number into it for each use."""
        return fold(tf.stack([tf.constant(self._config.seed, tf.int64), self.step.read_value()]), 0)

    def dropout_seeds(self, seed: tf.Tensor, calls: int) -> tf.Tensor:
        """Seeds for each image and each call of a network with dropout, int [global_batch, calls, 2]."""
        count = self._config.images_per_step
        return tf.reshape(split(seed, count * calls), [count, calls, 2])

    def mixing_numbers(self, seed: tf.Tensor) -> tf.Tensor:
        """Random numbers for a gradient penalty, float [global_batch] in [0, 1), multiples of 2**-24."""
        return tf.cast(integers([self._config.images_per_step], seed, 2**24), self._dtype) / 2**24

    def augment_seeds(self, seed: tf.Tensor, calls: int) -> tf.Tensor:
        """Seeds for each image and each call of a discriminator with --diffaugment, int [global_batch, calls, 2]."""
        if not self._config.diffaugmentations:
            return tf.zeros([self._config.images_per_step, calls, 2], tf.int32)  # nothing reads them
        return self.dropout_seeds(seed, calls)

    def critic(self, name: str, seeds: tf.Tensor) -> Callable[[tf.Tensor], losses.Logits]:
        """What a discriminator makes of images in training: images [b, h, w, c] -> logits, behind --diffaugment.

        Args:
            name: name of the discriminator.
            seeds: int [b, 2], one of the calls of augment_seeds; of joined batches, [2b, h, w, c], image i of each has
                seed i.
        """
        discriminator, changes = self.networks()[name], self._config.diffaugmentations
        judged = self._config.channels[self._config.networks[name].inputs[-1]]

        def logits(images):
            if changes:
                repeated = tf.tile(seeds, [images.shape[0] // seeds.shape[0], 1])
                images = diffaugment.augment(images, repeated, changes, judged)
            return discriminator(images, training=True)

        return logits

    def in_one_batch(self, kind: str, *batches: tf.Tensor) -> bool:
        """Whether a network should be called once on all of these images instead of once on each batch.

        It computes the same then, but for rounding: norms have statistics of each image. Small images have so few
        pixels that much of a convolution's time goes into its weights, which are brought into another order for each
        call; with large ones nothing is gained, and the activations of all would be in memory at once.

        Args:
            kind: of the network, 'generator' or 'discriminator'.
            batches: images [b, h, w, c].
        """
        shapes = {tuple(images.shape) for images in batches}
        known = len(shapes) == 1 and batches[0].shape.is_fully_defined()
        if not known or self._config.norms[kind] == 'batch':
            return False
        count, height, width, _ = batches[0].shape
        return len(batches) * count * height * width <= self.most_pixels_in_one_batch[kind]

    def rows_of_replica(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        """This replica's rows of tensors [global_batch, ...]."""
        replica = tf.distribute.get_replica_context()
        rows = self._config.images_per_step // replica.num_replicas_in_sync
        first = replica.replica_id_in_sync_group * rows
        return [tensor[first : first + rows] for tensor in tensors]

    def accumulate(self, function: Callable, *columns: tf.Tensor):
        """Applies a method, a part of the step, to one micro-batch after another: see models.gradients.accumulate."""
        return gradients.accumulate(self.as_function(function), self._config.accumulate_steps, *columns)

    def mean(self, per_example: tf.Tensor) -> tf.Tensor:
        """[b] -> these examples' contribution to the mean over the global batch: the only place that divides."""
        return tf.reduce_sum(per_example) / self._config.images_per_step

    def scaled(self, group: str, loss: tf.Tensor) -> tf.Tensor:
        """The loss of a backward group, scaled for differentiation."""
        return self._loss_scale(group).scaled(loss)

    def discriminator_loss(
        self, discriminator: Callable, real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Half the sum of the adversarial losses on real and fake images, plus the gradient penalties.

        Args:
            discriminator: images [b, h, w, c] -> logits, in training mode; b may be twice that of `real`, see
                in_one_batch.
            real, fake: images; no gradient flows into the fakes.
            mix: float [b] in [0, 1], for the penalty.

        Returns:
            The loss, and the mean outputs on real and on fake images; all are these examples' contributions to the
            means.
        """
        on_real, on_fake = self._logits_of_both(discriminator, real, fake)
        loss = self.adversarial.of_discriminator(on_real, on_fake)
        loss += self._penalty(discriminator, real, fake, mix)
        outputs = losses.mean_of_logits(on_real), losses.mean_of_logits(on_fake)
        return tuple(self.mean(values) for values in (loss, *outputs))

    def discriminator_values(
        self, discriminator: Callable, real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The same for a discriminator D that sees the fakes first, as those of pix2pix and CUT do: that is the order
        in which batch norm's running statistics move.

        Args: as for discriminator_loss.

        Returns:
            The loss; and by their tags its two terms, D_fake and D_real, and the mean outputs. All are these examples'
            contributions to the means.
        """
        on_fake, on_real = self._logits_of_both(discriminator, fake, real)
        loss = self.adversarial.of_discriminator(on_real, on_fake) + self._penalty(discriminator, real, fake, mix)
        values = {
            'loss/D_real': losses.mean_of_logits(on_real, self.adversarial.real),
            'loss/D_fake': losses.mean_of_logits(on_fake, self.adversarial.fake),
            'discriminator/D_real': losses.mean_of_logits(on_real),
            'discriminator/D_fake': losses.mean_of_logits(on_fake),
        }
        return self.mean(loss), {tag: self.mean(value) for tag, value in values.items()}

    def _logits_of_both(self, discriminator: Callable, first: tf.Tensor, second: tf.Tensor) -> list[losses.Logits]:
        """The logits of two batches, judged in this order, or both at once."""
        if not self.in_one_batch('discriminator', first, second):
            return [discriminator(first), discriminator(second)]
        self.kinds_in_one_batch.add('discriminator')
        logits = discriminator(tf.concat([first, second], axis=0))
        halves = [tf.split(of_scale, 2) for of_scale in tf.nest.flatten(logits)]
        return [tf.nest.pack_sequence_as(logits, of_one) for of_one in zip(*halves)]

    def _penalty(self, discriminator, real, fake, mix) -> tf.Tensor:
        """The gradient penalties with their weights, [b]; 0 if there are none."""
        config, total = self._config, tf.zeros([], real.dtype)
        if config.gan_mode == 'wgangp':
            # Departs from the reference: it defines the penalty but never adds it, so that its wgangp diverges.
            total += config.lambda_gp * losses.gradient_penalty(discriminator, real, fake, mix)
        if config.lambda_r1:
            total += config.lambda_r1 * losses.r1(discriminator, real)
        if config.lambda_zero_gp:
            mixed = losses.mixture(real, fake, mix)
            total += config.lambda_zero_gp * losses.zero_centred_penalty(discriminator, mixed)
        return total

    def update(self, group: str, parts: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Updates the players of a backward group with the gradients summed over all replicas.

        If the scaled gradients are too large for float16, all players skip the step. If the scale is 1 already, it
        cannot be lowered: then the norms are returned as they are, not finite, which stops the training.

        Args:
            group: name of the group.
            parts: this replica's gradients of the scaled loss, in the order of variables_of(group).

        Returns:
            'gradient_norm/PLAYER' -> norm over all its variables; 0 if the step is skipped.
        """
        summed, scale, finite, can_shrink = gradients.sum_over_replicas(parts), self._loss_scale(group), None, None
        if scale.used:
            summed, can_shrink = scale.unscaled(summed), scale.can_shrink()
        by_player, start = {}, 0
        for name in self.groups[group]:
            count = len(self.players[name].variables)
            by_player[name], start = summed[start : start + count], start + count
        norms = {name: tf.linalg.global_norm(own) for name, own in by_player.items()}
        if scale.used:
            finite = scale.update(summed)
            norms = {name: tf.where(finite | ~can_shrink, norm, 0) for name, norm in norms.items()}
        for name, own in by_player.items():
            if self._config.clip_grad:
                # As torch.nn.utils.clip_grad_norm_ does; the norm that is returned is the one before it.
                factor = tf.minimum(self._config.clip_grad / (norms[name] + 1e-6), 1)
                own = [gradient * factor for gradient in own]
            self.players[name].optimizer.apply(own, self.players[name].variables, finite)
            self._follow(self.players[name], finite)
        return {f'gradient_norm/{name}': norm for name, norm in norms.items()}

    def finish_step(self, values: Mapping[str, tf.Tensor], norms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Increments the step counter; returns the result of train_step.

        Args:
            values: tag, such as 'loss/G_A' -> this replica's contribution to the mean.
            norms: tag -> value, equal on all replicas.
        """
        self.step.assign_add(1)
        names = [name for name in self.metric_names if name not in norms]
        (means,) = gradients.sum_over_replicas([tf.stack([values[name] for name in names])])
        metrics = {**norms, **dict(zip(names, tf.unstack(means)))}
        return tf.stack([metrics[name] for name in self.metric_names])

    def _follow(self, player: Player, finite: Optional[tf.Tensor]) -> None:
        """Updates what follows a player's weights: running means of generators, and singular vectors."""
        for name, network in player.networks.items():
            average = self.averages().get(name)
            if average is not None:
                averages.update(average, network, self._config.ema_decay, self.step, finite)
            update_singular_vectors(network)

    def _loss_scale(self, group: str) -> LossScale:
        return getattr(self, f'loss_scale_{group.lower()}')

    # ---------------------------------------------------------------------------------------------------- the schedule
    def start_epoch(self, epoch: int) -> None:
        """Sets the learning rates for this epoch, counted from 1."""
        config = self._config
        factor = {
            'linear': lambda: schedules.linear(epoch, config.n_epochs, config.n_epochs_decay),
            'step': lambda: schedules.step(epoch, config.lr_decay_iters),
            'cosine': lambda: schedules.cosine(epoch, config.n_epochs),
            'plateau': lambda: float(self.plateau.factor.numpy()),
        }[config.lr_policy]()
        for player in self.players.values():
            judges = any(config.networks[name].kind == 'discriminator' for name in player.networks)
            initial = config.lr_D if judges and config.lr_D is not None else config.lr
            player.optimizer.learning_rate = initial * factor

    def end_epoch(self, means: Mapping[str, float]) -> None:
        """Passes the means of the metrics over the epoch, by tag, to schedules that depend on them."""
        self.plateau.update(sum(means[f'loss/{name}'] for name in self.plateau_losses))

    def learning_rates(self) -> dict[str, float]:
        """Learning rates by TensorBoard tag, and the loss scales that are in use."""
        players = self.players.values()
        rates = {f'learning_rate/{one.name}': float(one.optimizer.rate().numpy()) for one in players}
        scales = {name: self._loss_scale(name) for name in self.groups}
        return rates | {
            f'loss_scale/{name}': float(scale.scale.numpy()) for name, scale in scales.items() if scale.used
        }

    # -------------------------------------------------------------------------------------------------------- pictures
    def visuals(self, real_a: tf.Tensor, real_b: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        """Rows of pictures by tag: 'A_to_B' -> {'real_A': ..., 'fake_B': ..., 'rec_A': ...}, in the model's names.

        Without an inverse translation, the target domain's own image is shown instead of 'rec_A': 'real_B'.
        """
        real, rows = {'A': real_a, 'B': real_b}, {}
        directions = {(role.inputs[0], role.output): name for name, role in self._generators().items()}
        for (source, target), name in directions.items():
            fake = self.infer(name, real[source])
            row = {f'real_{source}': real[source], f'fake_{target}': fake}
            if (target, source) in directions:
                row[f'rec_{source}'] = self.infer(directions[target, source], fake)
            else:
                row[f'real_{target}'] = real[target]
            rows[f'{source}_to_{target}'] = row
        return rows

    def infer(self, name: str, images: tf.Tensor) -> tf.Tensor:
        """Translates images of any size with a generator, outside training."""
        return self._infer(name, images)

    def _generators(self):
        return {name: role for name, role in self._config.networks.items() if role.kind == 'generator'}


class _Inference:
    """Networks outside training, each traced once for images of all sizes; executed eagerly, they would leak memory in
    TensorFlow with every call. Not a tf.Module, so that checkpoints do not list it."""

    def __init__(self, networks: Mapping[str, tf.keras.Model], dtype: tf.DType, config: Config):
        self._networks, self._dtype, self._config, self._traced = networks, dtype, config, {}

    def __call__(self, name: str, images: tf.Tensor) -> tf.Tensor:
        if name not in self._traced:
            signature = [tf.TensorSpec([None, None, None, images.shape[-1]], self._dtype)]
            call = functools.partial(self._call, self._networks[name])
            self._traced[name] = tf.function(call, input_signature=signature, autograph=False)
        return self._traced[name](images)

    def _call(self, network: tf.keras.Model, images: tf.Tensor) -> tf.Tensor:
        size = tf.shape(images)[1:3]
        # Pictures during training have no names: all get the same random numbers.
        seeds = tf.zeros([tf.shape(images)[0], 2], tf.int32) + tf.constant(self._config.seed % 2**31, tf.int32)
        how = test_time.TestTime(
            size=size,
            padded=size,
            batch_statistics=self._config.batch_statistics,
            dropout_seeds=seeds if self._config.test_dropout else None,
            origin=tf.zeros([2], tf.int32),
        )
        with test_time.told(how):
            return network(images)


class _Functions:
    """Methods as tf.functions, compiled by XLA or not; each is made once, so that it is traced once."""

    def __init__(self, jit_compile: Optional[bool]):
        self._jit_compile, self._made = jit_compile, {}

    def __call__(self, method: Callable) -> Callable:
        if method not in self._made:  # bound methods of the same object compare as equal
            self._made[method] = tf.function(method, jit_compile=self._jit_compile, autograph=False)
        return self._made[method]

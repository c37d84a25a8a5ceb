"""What every model is: networks by role, players with an optimizer each, translations, and the tools of a step."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import gradients, losses, schedules
from cyclegan_tf.models.adam import Adam
from cyclegan_tf.models.loss_scale import LossScale
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.networks import make_discriminator, make_generator
from cyclegan_tf.ops.random import fold, integers, split
from cyclegan_tf.settings.training import Config

BETA_2 = 0.999  # the reference's
EPSILON = 1e-8  # PyTorch's Adam; Keras's default is 1e-7

Size = Optional[tuple[int, int]]
"""Height and width of a domain's images; None where they differ."""


@dataclasses.dataclass(frozen=True)
class Player:
    """Networks that one optimizer trains, as in 'G': both generators of CycleGAN.

    Attributes:
        name: as the reference writes it behind 'optimizer_'.
        networks: name -> network.
        optimizer: built for `variables`.
    """

    name: str
    networks: Mapping[str, tf.keras.Model]
    optimizer: Adam

    @property
    def variables(self) -> list[tf.Variable]:
        """The trainable ones, network by network."""
        return [variable for network in self.networks.values() for variable in network.trainable_variables]


class BaseModel(tf.Module):
    """A model: its state is what tf.train.Checkpoint(model=model) finds, its step is what a subclass writes.

    A subclass names its players, losses and pictures in class attributes, and writes `train_step` from the tools below.
    "A" is the domain that the model starts from: with config.direction BtoA it is the data set's B; only `translations`
    speaks of the data set's domains. Images are float [batch, height, width, channels] in [-1, 1] everywhere.

    Each network of config.networks is an attribute with its name in small letters (g_a), each player's optimizer is
    optimizer_NAME, each backward group's loss scale is loss_scale_NAME.

    Args:
        config: the run's settings.
        training: False builds the generators alone.
        sizes: of the training images of A and of B; unset: squares of config.crop_size.
        jit_compile: for XLA. With one replica the whole step is to be compiled, by who calls it (compile_whole); with
            several each one's losses and gradients are, and updates, pools and reductions stay outside, since XLA
            cannot update variables that live on several devices.
    """

    players_of: ClassVar[Mapping[str, Sequence[str]]]
    """Player -> names of its networks."""

    backward_groups: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Group -> players that learn from one loss: one tape, one loss scale; all are updated, or all are skipped. Players
    in none are a group of their own name."""

    loss_names: ClassVar[Sequence[str]]
    """Losses that are reported on the terminal and, behind 'loss/', in TensorBoard."""

    other_metrics: ClassVar[Sequence[str]] = ()
    """Tags of further means over the batch that TensorBoard shows."""

    plateau_losses: ClassVar[Sequence[str]]
    """Losses of whose sum lr_policy plateau expects that it falls."""

    def __init__(
        self, config: Config, training: bool = True, sizes: Optional[Sequence[Size]] = None, jit_compile: bool = False
    ):
        super().__init__()
        self._config = config
        self._dtype = tf.as_dtype(tf.keras.backend.floatx())
        seeds = np.random.default_rng(config.seed).integers(2**31, size=len(config.networks))
        for (name, role), seed in zip(config.networks.items(), seeds):
            if training or role.kind == 'generator':
                setattr(self, name.lower(), self.make_network(name, int(seed)))
        self._infer = _Inference(self.networks(), self._dtype)
        self.step = tf.Variable(
            0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        self.compile_whole = jit_compile and not several
        """Whether XLA is to compile train_step as one, which takes a single replica."""
        if not training:
            return
        if config.gan_mode == 'wgangp' and config.precision == 'float16':
            # Its gradients are right where they are finite, but at the default weights not even a scale of 1 is sure
            # to make them so.
            raise UserError(
                '`precision` (float16) does not hold the gradients of the penalty of gan_mode wgangp; set it to '
                'bfloat16 or float32.'
            )
        self.players = self._make_players()
        for name in self.groups:
            setattr(self, f'loss_scale_{name.lower()}', LossScale(config.precision == 'float16'))
        self.plateau = schedules.Plateau()
        self.adversarial = losses.adversarial(config.gan_mode)
        self.add_training_state(*(sizes or [(config.crop_size, config.crop_size)] * 2))
        compile_parts = jit_compile and several
        # A function of its own is for micro-batches too, which then share one trace; batch norm over several replicas
        # cannot be in one.
        as_functions = compile_parts or (config.accumulate_steps > 1 and not (config.norm == 'batch' and several))
        # None and not False, which would keep them out of a whole that is compiled.
        self.as_function: Callable = _Functions(compile_parts or None) if as_functions else lambda method: method
        """method -> that part of the step as it is to be called: as it is, or as a function of TensorFlow."""

    def add_training_state(self, size_a: Size, size_b: Size) -> None:
        """Makes what a model's training needs beside players, as pools; the sizes are those of the training images."""

    # --------------------------------------------------------------------------------- networks, players, translations
    def make_network(self, name: str, seed: int, for_tiles: bool = False) -> tf.keras.Model:
        """A network as config.networks[name] describes it, with its first weights.

        Args:
            name: of the network.
            seed: fixes the weights.
            for_tiles: a generator whose instance norms keep the statistics of what it sees in training and use them
                afterwards: see norms.ThumbnailInstanceNorm. It has no dropout.
        """
        config = self._config
        role = config.networks[name]
        if role.kind not in ('generator', 'discriminator'):
            raise ValueError(f"network {name} is a '{role.kind}', which its model has to make: overwrite make_network.")
        initial = {key: getattr(config, key) for key in ('init_type', 'init_gain', 'precision')}
        initial.update(norm='instance_thumbnail' if for_tiles else config.norm)
        channels = sum(config.channels[domain] for domain in role.inputs)
        if role.kind == 'generator':
            return make_generator(
                config.netG,
                channels,
                config.channels[role.output],
                filters=config.ngf,
                use_dropout=not (config.no_dropout or for_tiles),
                recompute_grads=config.recompute_grads and not for_tiles,
                seed=seed,
                **initial,
            )
        return make_discriminator(
            config.netD,
            channels,
            filters=config.ndf,
            num_layers=config.n_layers_D,
            twice_differentiable=config.gan_mode == 'wgangp',
            seed=seed,
            **initial,
        )

    def kind(self, name: str) -> str:
        """What a network is, for reports: as in 'resnet_9blocks'."""
        kind = self._config.networks[name].kind
        return {'generator': self._config.netG, 'discriminator': self._config.netD}.get(kind, kind)

    def networks(self) -> dict[str, tf.keras.Model]:
        """Those that there are, by their names in the reference."""
        names = {name: name.lower() for name in self._config.networks}
        return {name: getattr(self, attribute) for name, attribute in names.items() if hasattr(self, attribute)}

    def _make_players(self) -> Mapping[str, Player]:
        networks, found = self.networks(), {}
        for name, names in self.players_of.items():
            optimizer = Adam(self._config.lr, self._config.beta1, BETA_2, EPSILON, jit_compile=False)
            setattr(self, f'optimizer_{name.lower()}', optimizer)
            found[name] = Player(name, {network: networks[network] for network in names}, optimizer)
            optimizer.build(found[name].variables)
        return types.MappingProxyType(found)  # which a checkpoint does not list: the model's attributes are what it has

    @property
    def groups(self) -> dict[str, Sequence[str]]:
        """Backward group -> its players."""
        grouped = {player for players in self.backward_groups.values() for player in players}
        return {**{name: (name,) for name in self.players_of if name not in grouped}, **self.backward_groups}

    def variables_of(self, group: str) -> list[tf.Variable]:
        """What a backward group trains, player by player."""
        return [variable for name in self.groups[group] for variable in self.players[name].variables]

    @property
    def translations(self) -> dict[str, Translation]:
        """By name, as in 'AtoB', in the data set's names."""
        config, found = self._config, {}
        for name, network in config.translating_networks.items():
            source, target, role = name[0], name[-1], config.networks[network]
            assert len(role.inputs) == 1, 'a generator translates images of one domain'
            inverse = f'{target}to{source}'
            found[name] = Translation(
                name=name,
                network=getattr(self, network.lower()),
                network_name=network,
                source=source,
                target=target,
                channels=(config.channels[role.inputs[0]], config.channels[role.output]),
                inverse=inverse if inverse in config.translating_networks else None,
            )
        return found

    # -------------------------------------------------------------------------------------------------------- the step
    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """Does one step, in replica context, on this replica's share of the global batch.

        Returns:
            float [len(metric_names)], equal on all replicas: means over the global batch.
        """
        raise NotImplementedError

    @property
    def metric_names(self) -> tuple[str, ...]:
        """TensorBoard tags of what train_step returns, in its order."""
        of_losses = (f'loss/{name}' for name in self.loss_names)
        return (*of_losses, *(f'gradient_norm/{name}' for name in self.players_of), *self.other_metrics)

    def step_seed(self) -> tf.Tensor:
        """Of all that is random in this step, int32 [2]; fold a number into it for each use."""
        return fold(tf.stack([tf.constant(self._config.seed, tf.int64), self.step.read_value()]), 0)

    def dropout_seeds(self, seed: tf.Tensor, calls: int) -> tf.Tensor:
        """Int [global_batch, calls, 2]: for each image and each call of a network with dropout."""
        count = self._config.images_per_step
        return tf.reshape(split(seed, count * calls), [count, calls, 2])

    def mixing_numbers(self, seed: tf.Tensor) -> tf.Tensor:
        """Float [global_batch], for a gradient penalty; multiples of 2**-24."""
        return tf.cast(integers([self._config.images_per_step], seed, 2**24), self._dtype) / 2**24

    def rows_of_replica(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        """This replica's rows of tensors [global_batch, ...]."""
        replica = tf.distribute.get_replica_context()
        rows = self._config.images_per_step // replica.num_replicas_in_sync
        first = replica.replica_id_in_sync_group * rows
        return [tensor[first : first + rows] for tensor in tensors]

    def accumulate(self, function: Callable, *columns: tf.Tensor):
        """Applies a method, a part of the step, to one micro-batch after the other: see models.gradients.accumulate."""
        return gradients.accumulate(self.as_function(function), self._config.accumulate_steps, *columns)

    def mean(self, per_example: tf.Tensor) -> tf.Tensor:
        """[b] -> these examples' part of the mean over the global batch: the one place that divides."""
        return tf.reduce_sum(per_example) / self._config.images_per_step

    def scaled(self, group: str, loss: tf.Tensor) -> tf.Tensor:
        """The loss of a backward group as it is to be differentiated."""
        return self._loss_scale(group).scaled(loss)

    def discriminator_loss(
        self, discriminator: Callable, real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Half the adversarial losses on real and on fake images, and under wgangp the penalty.

        Args:
            discriminator: in training, images [b, h, w, c] -> logits.
            real, fake: images; no gradient flows into the fakes.
            mix: float [b] in [0, 1], for the penalty.

        Returns:
            The loss, and the mean outputs on real and on fake images; all are these examples' parts of the means.
        """
        on_real, on_fake = discriminator(real), discriminator(fake)
        loss = 0.5 * (self.adversarial(on_real, True) + self.adversarial(on_fake, False))
        if self._config.gan_mode == 'wgangp':
            # Departs from the reference: it defines the penalty but never adds it, so that its wgangp diverges.
            loss += self._config.lambda_gp * losses.gradient_penalty(discriminator, real, fake, mix)
        judged = losses.mean_per_example(on_real), losses.mean_per_example(on_fake)
        return tuple(self.mean(values) for values in (loss, *judged))

    def update(self, group: str, parts: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Updates the players of a backward group by the sum of all replicas' gradients.

        A step is skipped, by all of them, where its scaled gradients were too large for float16. Where the scale was 1
        already, smaller ones cannot be had: then the norms are returned as they are, which is not finite, and stops the
        training.

        Args:
            group: which.
            parts: this replica's gradients of the scaled loss, as variables_of(group).

        Returns:
            'gradient_norm/PLAYER' -> norm over all its variables, 0 of a skipped step.
        """
        found, scale, finite, helps = gradients.sum_over_replicas(parts), self._loss_scale(group), None, None
        if scale.used:
            found, helps = scale.unscaled(found), scale.can_shrink()
        by_player, start = {}, 0
        for name in self.groups[group]:
            count = len(self.players[name].variables)
            by_player[name], start = found[start : start + count], start + count
        norms = {name: tf.linalg.global_norm(of_player) for name, of_player in by_player.items()}
        if scale.used:
            finite = scale.update(found)
            norms = {name: tf.where(finite | ~helps, norm, 0) for name, norm in norms.items()}
        for name, of_player in by_player.items():
            self.players[name].optimizer.apply(of_player, self.players[name].variables, finite)
        return {f'gradient_norm/{name}': norm for name, norm in norms.items()}

    def finish_step(self, values: Mapping[str, tf.Tensor], norms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Counts the step; returns what train_step does.

        Args:
            values: tag, as in 'loss/G_A', -> this replica's part of the mean.
            norms: tag -> value, equal on all replicas.
        """
        self.step.assign_add(1)
        names = [name for name in self.metric_names if name not in norms]
        (means,) = gradients.sum_over_replicas([tf.stack([values[name] for name in names])])
        found = {**norms, **dict(zip(names, tf.unstack(means)))}
        return tf.stack([found[name] for name in self.metric_names])

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
            player.optimizer.learning_rate = config.lr * factor

    def end_epoch(self, means: Mapping[str, float]) -> None:
        """Tells schedules that depend on it the means of the metrics over the epoch, by tag."""
        self.plateau.update(sum(means[f'loss/{name}'] for name in self.plateau_losses))

    def learning_rates(self) -> dict[str, float]:
        """By TensorBoard tag; and what the losses are multiplied by, where they are."""
        players = self.players.values()
        rates = {f'learning_rate/{one.name}': float(one.optimizer.learning_rate.numpy()) for one in players}
        scales = {name: self._loss_scale(name) for name in self.groups}
        return rates | {
            f'loss_scale/{name}': float(scale.scale.numpy()) for name, scale in scales.items() if scale.used
        }

    # ---------------------------------------------------------------------------------------------------- what is seen
    def visuals(self, real_a: tf.Tensor, real_b: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        """Rows of pictures by tag: 'A_to_B' -> {'real_A': ..., 'fake_B': ..., 'rec_A': ...}, in the model's names.

        Without a translation back the target's own image stands beside the fake: 'real_B'.
        """
        real, rows = {'A': real_a, 'B': real_b}, {}
        ways = {(role.inputs[0], role.output): name for name, role in self._generators().items()}
        for (source, target), name in ways.items():
            fake = self.infer(name, real[source])
            row = {f'real_{source}': real[source], f'fake_{target}': fake}
            if (target, source) in ways:
                row[f'rec_{source}'] = self.infer(ways[target, source], fake)
            else:
                row[f'real_{target}'] = real[target]
            rows[f'{source}_to_{target}'] = row
        return rows

    def infer(self, name: str, images: tf.Tensor) -> tf.Tensor:
        """What a generator makes of images of any size, outside of training."""
        return self._infer(name, images)

    def _generators(self):
        return {name: role for name, role in self._config.networks.items() if role.kind == 'generator'}


class _Inference:
    """Networks outside of training, each traced once for images of all sizes; run step by step, TensorFlow loses memory
    each time. No tf.Module, so that a checkpoint does not list it."""

    def __init__(self, networks: Mapping[str, tf.keras.Model], dtype: tf.DType):
        self._networks, self._dtype, self._traced = networks, dtype, {}

    def __call__(self, name: str, images: tf.Tensor) -> tf.Tensor:
        if name not in self._traced:
            network = self._networks[name]
            signature = [tf.TensorSpec([None, None, None, images.shape[-1]], self._dtype)]
            self._traced[name] = tf.function(lambda x: network(x), input_signature=signature, autograph=False)
        return self._traced[name](images)


class _Functions:
    """Methods as functions of TensorFlow, compiled by XLA or not; each is made once, so that it is traced once."""

    def __init__(self, jit_compile: Optional[bool]):
        self._jit_compile, self._made = jit_compile, {}

    def __call__(self, method: Callable) -> Callable:
        if method not in self._made:  # of an object, methods compare as equal
            self._made[method] = tf.function(method, jit_compile=self._jit_compile, autograph=False)
        return self._made[method]

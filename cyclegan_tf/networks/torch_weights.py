"""Weights in the format of the PyTorch program's files: keys, axes, and the architecture that they imply."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.networks.generators import GENERATORS
from cyclegan_tf.networks.norms import BatchNorm, NoNorm, norm_wants_bias

# [kh, kw, in, out] -> [out, in, kh, kw]; of transposed convolutions [kh, kw, out, in] -> [in, out, kh, kw].
_TO_TORCH = (3, 2, 0, 1)
_FROM_TORCH = (2, 3, 1, 0)

_NORMS = ('instance', 'batch', 'none')
_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')  # of torch.nn's norms, besides weight and bias
_MOST_LAYERS = 16  # of a discriminator that is considered; its images would be 200,000 pixels wide
_DATA_PARALLEL = 'module.'  # torch.nn.DataParallel puts it before every key


# ---------------------------------------------------------------------------------------------------- where layers are
@dataclasses.dataclass(frozen=True)
class Slot:
    """The place of a layer in the PyTorch program's network and in ours.

    Attributes:
        prefix: prefix of its keys in PyTorch, such as 'model.10.conv_block.1'.
        layer: path of its attribute in our network, such as 'blocks.0.conv_1'.
        is_norm: whether it is a normalisation; otherwise it is a convolution.
        biased: whether it is a convolution that has a bias with every norm.
    """

    prefix: str
    layer: str
    is_norm: bool = False
    biased: bool = False


def generator_slots(name: str, use_dropout: bool) -> list[Slot]:
    """The layers of generator `name` in the order of the PyTorch program's state_dict.

    In a ResNet's blocks, dropout precedes the second convolution and shifts its key by one.
    """
    kind, depth = GENERATORS[name]
    return _unet_slots(depth) if kind == 'unet' else _resnet_slots(depth, use_dropout)


def discriminator_slots(name: str, num_layers: int) -> list[Slot]:
    """The layers of discriminator `name` in the order of the PyTorch program's state_dict.

    `num_layers`, the number of convolutions with stride 2, is used for 'n_layers' only.
    """
    if name == 'pixel':
        return [
            Slot('net.0', 'conv_1', biased=True),
            Slot('net.2', 'conv_2'),
            Slot('net.3', 'norm', is_norm=True),
            Slot('net.5', 'conv_3'),
        ]
    layers = 3 if name == 'basic' else num_layers
    slots = [Slot('model.0', 'conv_in', biased=True)]
    for i in range(layers):
        slots += [Slot(f'model.{2 + 3 * i}', f'convs.{i}'), Slot(f'model.{3 + 3 * i}', f'norms.{i}', is_norm=True)]
    return [*slots, Slot(f'model.{2 + 3 * layers}', 'conv_out', biased=True)]


def _resnet_slots(blocks: int, use_dropout: bool) -> list[Slot]:
    slots = [Slot('model.1', 'conv_in'), Slot('model.2', 'norm_in', is_norm=True)]
    for i in range(2):
        slots += [Slot(f'model.{4 + 3 * i}', f'downs.{i}'), Slot(f'model.{5 + 3 * i}', f'down_norms.{i}', is_norm=True)]
    second = 6 if use_dropout else 5
    for i in range(blocks):
        for index, half in ((1, 1), (second, 2)):
            prefix = f'model.{10 + i}.conv_block.'
            slots.append(Slot(f'{prefix}{index}', f'blocks.{i}.conv_{half}'))
            slots.append(Slot(f'{prefix}{index + 1}', f'blocks.{i}.norm_{half}', is_norm=True))
    after = 10 + blocks
    for i in range(2):
        slots.append(Slot(f'model.{after + 3 * i}', f'ups.{i}'))
        slots.append(Slot(f'model.{after + 3 * i + 1}', f'up_norms.{i}', is_norm=True))
    return [*slots, Slot(f'model.{after + 7}', 'conv_out', biased=True)]


def _unet_slots(downs: int, level: int = 0, prefix: str = 'model.model') -> list[Slot]:
    """The layers from this level inwards and back; level 0 is the outermost, and each level contains the next."""
    if level == 0:
        inner = _unet_slots(downs, 1, f'{prefix}.1.model')
        return [Slot(f'{prefix}.0', 'downs.0'), *inner, Slot(f'{prefix}.3', 'ups.0', biased=True)]
    down, up_norm = Slot(f'{prefix}.1', f'downs.{level}'), f'up_norms.{level - 1}'
    if level == downs - 1:
        return [down, Slot(f'{prefix}.3', f'ups.{level}'), Slot(f'{prefix}.4', up_norm, is_norm=True)]
    return [
        down,
        Slot(f'{prefix}.2', f'down_norms.{level - 1}', is_norm=True),
        *_unet_slots(downs, level + 1, f'{prefix}.3.model'),
        Slot(f'{prefix}.5', f'ups.{level}'),
        Slot(f'{prefix}.6', up_norm, is_norm=True),
    ]


# --------------------------------------------------------------------------------------------------- what a file holds
def without_prefix(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state_dict without the 'module.' that torch.nn.DataParallel puts before every key."""
    if state and all(key.startswith(_DATA_PARALLEL) for key in state):
        return {key.removeprefix(_DATA_PARALLEL): value for key, value in state.items()}
    return dict(state)


@dataclasses.dataclass(frozen=True)
class Guess:
    """The architecture that a file's keys and shapes imply.

    Attributes:
        settings: values by their names in Config: netG, norm, ngf and, for a ResNet, no_dropout; or netD, norm, ndf
            and, except for a pixel discriminator, n_layers_D. What the file does not imply is left out.
        channels: numbers of input channels and, for a generator, of output channels; None where the file does not
            imply it.
        exact: whether no weight or bias is missing or unexpected.
    """

    settings: Mapping[str, Any]
    channels: tuple[Optional[int], Optional[int]]
    exact: bool


def guess_generator(state: Mapping[str, np.ndarray]) -> Optional[Guess]:
    """The generator that a state_dict matches best; None if it shares no key with any."""
    candidates = []
    for name, (kind, _) in GENERATORS.items():
        for norm in _NORMS:
            if kind == 'unet':  # its dropout leaves no trace
                candidates.append(({'netG': name, 'norm': norm}, generator_slots(name, False)))
                continue
            for no_dropout in (True, False):
                settings = {'netG': name, 'norm': norm, 'no_dropout': no_dropout}
                candidates.append((settings, generator_slots(name, not no_dropout)))
    return _nearest(state, candidates, 'ngf')


def guess_discriminator(state: Mapping[str, np.ndarray]) -> Optional[Guess]:
    """The discriminator that a state_dict matches best, 'basic' for three layers; None if it shares no key with any."""
    candidates = []
    for norm in _NORMS:
        candidates.append(({'netD': 'pixel', 'norm': norm}, discriminator_slots('pixel', 0)))
        for layers in range(1, _MOST_LAYERS + 1):
            settings = {'netD': 'basic' if layers == 3 else 'n_layers', 'n_layers_D': layers, 'norm': norm}
            candidates.append((settings, discriminator_slots('n_layers', layers)))
    return _nearest(state, candidates, 'ndf')


def _nearest(state, candidates, width: str) -> Optional[Guess]:
    """The candidate, (settings, slots), with the fewest missing or unexpected keys."""
    # Running statistics imply nothing: old files have them for instance norms too.
    present = {key for key in state if not key.endswith(_STATISTICS)}
    wanted = [set(_parameters(slots, settings['norm'])) for settings, slots in candidates]
    best = min(range(len(candidates)), key=lambda i: len(present ^ wanted[i]))
    if not present & wanted[best]:
        return None
    settings, slots = candidates[best]
    first, last = (np.shape(state.get(key)) for key in (f'{slots[0].prefix}.weight', f'{slots[-1].prefix}.bias'))
    if len(first) == 4:  # [filters, channels, kernel, kernel]
        settings[width] = int(first[0])
    channels = (int(first[1]) if len(first) == 4 else None, int(last[0]) if len(last) == 1 else None)
    return Guess(settings, channels, present == wanted[best])


def _parameters(slots: Sequence[Slot], norm: str) -> Iterator[str]:
    """The keys of weights and biases."""
    for slot in slots:
        if not slot.is_norm or norm == 'batch':
            yield f'{slot.prefix}.weight'
        if (slot.is_norm and norm == 'batch') or (not slot.is_norm and (slot.biased or norm_wants_bias(norm))):
            yield f'{slot.prefix}.bias'


# ------------------------------------------------------------------------------------------------ from and to a network
def differences(network: tf.keras.Model, slots: Sequence[Slot], state: Mapping[str, np.ndarray]) -> list[str]:
    """One line for each key that is missing, unexpected or has the wrong shape; an empty list if the weights fit.

    Running statistics of instance norms, which PyTorch wrote before 0.4, and num_batches_tracked are ignored.
    """
    lines, known = [], set(_unused(network, slots))
    for key, variable in _variables(network, slots):
        known.add(key)
        wanted = [variable.shape[axis] for axis in _axes(len(variable.shape))]
        if key not in state:
            lines.append(f'{key} is missing, of shape {wanted}')
        elif list(np.shape(state[key])) != wanted:
            lines.append(f'{key} has shape {list(np.shape(state[key]))}, not {wanted}')
    return lines + [f'{key} is unexpected' for key in state if key not in known]


def assign(network: tf.keras.Model, slots: Sequence[Slot], state: Mapping[str, np.ndarray]) -> None:
    """Assigns weights to a network; they have to fit, see differences."""
    for key, variable in _variables(network, slots):
        value = np.asarray(state[key])
        variable.assign(value.transpose(_FROM_TORCH) if value.ndim == 4 else value)


def state_dict(network: tf.keras.Model, slots: Sequence[Slot]) -> dict[str, np.ndarray]:
    """A network's weights for load_state_dict(strict=True) of the PyTorch program's network, in its order.

    Returns:
        Arrays of the variables' dtype and PyTorch's shapes and, for each batch norm, num_batches_tracked, int64. It is
        always 0: we do not count batches, and PyTorch reads it only if momentum is None, which the PyTorch program
        never sets.
    """
    result = {}
    for key, variable in _variables(network, slots):
        result[key] = np.ascontiguousarray(variable.numpy().transpose(_axes(len(variable.shape))))
        if key.endswith('running_var'):
            result[key.replace('running_var', 'num_batches_tracked')] = np.zeros((), np.int64)
    return result


def _axes(dimensions: int) -> Sequence[int]:
    """The permutation from our axes to PyTorch's."""
    return _TO_TORCH if dimensions == 4 else range(dimensions)


def _variables(network: tf.keras.Model, slots: Sequence[Slot]) -> Iterator[tuple[str, tf.Variable]]:
    """Key and variable of every weight and statistic."""
    for slot in slots:
        layer = _find(network, slot.layer)
        if not slot.is_norm:
            yield f'{slot.prefix}.weight', layer.kernel
            if layer.bias is not None:
                yield f'{slot.prefix}.bias', layer.bias
        elif isinstance(layer, BatchNorm):
            yield f'{slot.prefix}.weight', layer.scale
            yield f'{slot.prefix}.bias', layer.offset
            yield f'{slot.prefix}.running_mean', layer.running_mean
            yield f'{slot.prefix}.running_var', layer.running_variance


def _unused(network: tf.keras.Model, slots: Sequence[Slot]) -> Iterator[str]:
    """Keys that a file may have and that are ignored here."""
    for slot in slots:
        layer = _find(network, slot.layer)
        if slot.is_norm and not isinstance(layer, NoNorm):
            for name in _STATISTICS[2:] if isinstance(layer, BatchNorm) else _STATISTICS:
                yield f'{slot.prefix}.{name}'


def _find(network: tf.keras.Model, path: str) -> tf.keras.layers.Layer:
    step = lambda layer, name: layer[int(name)] if name.isdigit() else getattr(layer, name)  # noqa: E731
    return functools.reduce(step, path.split('.'), network)

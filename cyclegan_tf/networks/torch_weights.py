"""Weights in the format of the PyTorch program's files: keys, axes, and the architecture that they imply."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.networks.generators import GENERATORS
from cyclegan_tf.networks.norms import BatchNorm, NoNorm, norm_wants_bias

# Dimensions -> the permutation from our axes to PyTorch's. Of convolutions [kh, kw, in, out] -> [out, in, kh, kw], of
# transposed ones [kh, kw, out, in] -> [in, out, kh, kw], of linear layers [in, out] -> [out, in].
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}

_NORMS = ('instance', 'batch', 'none')
_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')  # of torch.nn's norms, besides weight and bias
_MOST_LAYERS = 16  # of a discriminator that is considered; its images would be 200,000 pixels wide
_FILTER = 'filt'  # of CUT's blurs
_DATA_PARALLEL = 'module.'  # torch.nn.DataParallel puts it before every key


# ---------------------------------------------------------------------------------------------------- where layers are
@dataclasses.dataclass(frozen=True)
class Slot:
    """The place of a layer in the PyTorch program's network and in ours.

    Attributes:
        prefix: prefix of its keys in PyTorch, such as 'model.10.conv_block.1'.
        layer: path of its attribute in our network, such as 'blocks.0.conv_1'.
        is_norm: whether it is a normalisation; otherwise it is a convolution, a linear layer or a blur.
        biased: whether it is a convolution or a linear layer that has a bias with every norm.
        is_blur: whether it is a blur, whose filter is constant and stored all the same.
    """

    prefix: str
    layer: str
    is_norm: bool = False
    biased: bool = False
    is_blur: bool = False


def generator_slots(name: str, use_dropout: bool, antialias: bool = False, antialias_up: bool = False) -> list[Slot]:
    """The layers of generator `name` in the order of the PyTorch program's state_dict.

    In a ResNet's blocks, dropout precedes the second convolution and shifts its key by one. So does each blur to all
    keys behind it.
    """
    kind, depth = GENERATORS[name]
    if kind == 'unet':
        return _unet_slots(depth)
    return _resnet_slots(depth, use_dropout, antialias, antialias_up)


def patch_features_slots(maps: int) -> list[Slot]:
    """The layers of CUT's F with perceptrons for this many feature maps, in the order of its state_dict."""
    places = [(index, layer) for index in range(maps) for layer in ((0, 'firsts'), (2, 'seconds'))]
    return [Slot(f'mlp_{index}.{key}', f'{name}.{index}', biased=True) for index, (key, name) in places]


def discriminator_slots(name: str, num_layers: int, antialias: bool = False) -> list[Slot]:
    """The layers of discriminator `name` in the order of the PyTorch program's state_dict.

    `num_layers`, the number of convolutions with stride 2, is used for 'n_layers' only. 'pixel' has no blurs.
    """
    if name == 'pixel':
        return [
            Slot('net.0', 'conv_1', biased=True),
            Slot('net.2', 'conv_2'),
            Slot('net.3', 'norm', is_norm=True),
            Slot('net.5', 'conv_3'),
        ]
    layers = 3 if name == 'basic' else num_layers
    slots, index = [Slot('model.0', 'conv_in', biased=True)], 2  # a convolution and an activation
    for i in range(layers):
        if antialias:
            slots.append(Slot(f'model.{index}', f'blurs.{i}', is_blur=True))
            index += 1
        slots += [Slot(f'model.{index}', f'convs.{i}'), Slot(f'model.{index + 1}', f'norms.{i}', is_norm=True)]
        index += 3
    return [*slots, Slot(f'model.{index}', 'conv_out', biased=True)]


def _resnet_slots(blocks: int, use_dropout: bool, antialias: bool, antialias_up: bool) -> list[Slot]:
    slots, index = [Slot('model.1', 'conv_in'), Slot('model.2', 'norm_in', is_norm=True)], 4
    for i in range(2):
        slots += [Slot(f'model.{index}', f'downs.{i}'), Slot(f'model.{index + 1}', f'down_norms.{i}', is_norm=True)]
        index += 3
        if antialias:
            slots.append(Slot(f'model.{index}', f'down_blurs.{i}', is_blur=True))
            index += 1
    second = 6 if use_dropout else 5
    for i in range(blocks):
        for place, half in ((1, 1), (second, 2)):
            prefix = f'model.{index + i}.conv_block.'
            slots.append(Slot(f'{prefix}{place}', f'blocks.{i}.conv_{half}'))
            slots.append(Slot(f'{prefix}{place + 1}', f'blocks.{i}.norm_{half}', is_norm=True))
    index += blocks
    for i in range(2):
        if antialias_up:
            slots.append(Slot(f'model.{index}', f'up_blurs.{i}', is_blur=True))
            index += 1
        slots.append(Slot(f'model.{index}', f'ups.{i}'))
        slots.append(Slot(f'model.{index + 1}', f'up_norms.{i}', is_norm=True))
        index += 3
    return [*slots, Slot(f'model.{index + 1}', 'conv_out', biased=True)]


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
        settings: values by their names in Config: netG, norm, ngf and, for a ResNet, no_dropout, downsample and
            upsample; or netD, norm, ndf and, except for a pixel discriminator, n_layers_D and downsample; or
            netF and netF_nc. What the file does not imply is left out.
        channels: numbers of input channels and, for a generator, of output channels; None where the file does not
            imply it, as always for features of patches.
        exact: whether no weight or bias is missing or unexpected.
    """

    settings: Mapping[str, Any]
    channels: tuple[Optional[int], Optional[int]]
    exact: bool


def guess_generator(state: Mapping[str, np.ndarray]) -> Optional[Guess]:
    """The generator that a state_dict matches best; None if it shares no key with any."""
    candidates, blurs = [], _possible_blurs(state)
    for name, (kind, _) in GENERATORS.items():
        for norm in _NORMS:
            if kind == 'unet':  # its dropout leaves no trace
                candidates.append(({'netG': name, 'norm': norm}, generator_slots(name, False)))
                continue
            for no_dropout, down, up in itertools.product((True, False), blurs, blurs):
                settings = {'netG': name, 'norm': norm, 'no_dropout': no_dropout}
                settings.update(downsample='antialias' if down else 'stride', upsample='antialias' if up else 'deconv')
                slots = generator_slots(name, not no_dropout, down, up)
                candidates.append((settings, slots))
    return _nearest(state, candidates, 'ngf')


def guess_discriminator(state: Mapping[str, np.ndarray]) -> Optional[Guess]:
    """The discriminator that a state_dict matches best, 'basic' for three layers; None if it shares no key with any."""
    candidates, blurs = [], _possible_blurs(state)
    for norm in _NORMS:
        candidates.append(({'netD': 'pixel', 'norm': norm}, discriminator_slots('pixel', 0)))
        for layers, down in itertools.product(range(1, _MOST_LAYERS + 1), blurs):
            settings = {'netD': 'basic' if layers == 3 else 'n_layers', 'n_layers_D': layers, 'norm': norm}
            settings['downsample'] = 'antialias' if down else 'stride'
            candidates.append((settings, discriminator_slots('n_layers', layers, down)))
    return _nearest(state, candidates, 'ndf')


def _possible_blurs(state: Mapping[str, np.ndarray]) -> Sequence[bool]:
    """Whether a network has blurs, as far as its state_dict leaves that open: only networks with blurs have filters."""
    return (False, True) if any(key.endswith(f'.{_FILTER}') for key in state) else (False,)


def guess_patch_features(state: Mapping[str, np.ndarray]) -> Optional[Guess]:
    """CUT's F with as many perceptrons as a state_dict has; None if it has none."""
    maps = len({key.partition('.')[0] for key in state if re.match(r'mlp_\d+\.', key)})
    if not maps:
        return None
    wanted = {f'{slot.prefix}.{name}' for slot in patch_features_slots(maps) for name in ('weight', 'bias')}
    last = np.shape(state.get('mlp_0.2.bias'))
    units = {'netF_nc': int(last[0])} if len(last) == 1 else {}
    return Guess({'netF': 'mlp_sample', **units}, (None, None), set(state) == wanted)


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
    """The keys of weights, biases and filters."""
    for slot in slots:
        if slot.is_blur:
            yield f'{slot.prefix}.{_FILTER}'
            continue
        if not slot.is_norm or norm == 'batch':
            yield f'{slot.prefix}.weight'
        if (slot.is_norm and norm == 'batch') or (not slot.is_norm and (slot.biased or norm_wants_bias(norm))):
            yield f'{slot.prefix}.bias'


# ------------------------------------------------------------------------------------------------ from and to a network
def differences(network: tf.keras.Model, slots: Sequence[Slot], state: Mapping[str, np.ndarray]) -> list[str]:
    """One line for each key that is missing, unexpected or has the wrong shape, and for each filter of a blur that has
    other values; an empty list if the weights fit.

    Running statistics of instance norms, which PyTorch wrote before 0.4, and num_batches_tracked are ignored.
    """
    lines, known = [], set(_unused(network, slots))
    for key, variable in variables(network, slots):
        known.add(key)
        wanted = [variable.shape[axis] for axis in _TO_TORCH[len(variable.shape)]]
        lines += _misfit(state, key, wanted)
    for key, blur in _filters(network, slots):
        known.add(key)
        misfit = _misfit(state, key, list(blur.shape))
        lines += misfit
        if not misfit and not np.allclose(state[key], blur, rtol=0, atol=1e-6):
            lines.append(f'{key} is another blur than the one that this program has')
    return lines + [f'{key} is unexpected' for key in state if key not in known]


def _misfit(state: Mapping[str, np.ndarray], key: str, shape: Sequence[int]) -> list[str]:
    if key not in state:
        return [f'{key} is missing, of shape {shape}']
    found = list(np.shape(state[key]))
    return [] if found == shape else [f'{key} has shape {found}, not {shape}']


def assign(network: tf.keras.Model, slots: Sequence[Slot], state: Mapping[str, np.ndarray]) -> None:
    """Assigns weights to a network; they have to fit, see differences."""
    for key, variable in variables(network, slots):
        value = np.asarray(state[key])
        variable.assign(value.transpose(FROM_TORCH[value.ndim]))


def state_dict(network: tf.keras.Model, slots: Sequence[Slot]) -> dict[str, np.ndarray]:
    """A network's weights for load_state_dict(strict=True) of the PyTorch program's network, in its order.

    Returns:
        Arrays of the variables' dtype and PyTorch's shapes and, for each batch norm, num_batches_tracked, int64. It is
        always 0: we do not count batches, and PyTorch reads it only if momentum is None, which the PyTorch program
        never sets.
    """
    result = {}
    for slot in slots:
        result.update(_filters(network, [slot]))
        for key, variable in variables(network, [slot]):
            result[key] = np.ascontiguousarray(variable.numpy().transpose(_TO_TORCH[len(variable.shape)]))
            if key.endswith('running_var'):
                result[key.replace('running_var', 'num_batches_tracked')] = np.zeros((), np.int64)
    return result


def variables(network: tf.keras.Model, slots: Sequence[Slot]) -> Iterator[tuple[str, tf.Variable]]:
    """Key and variable of every weight and statistic."""
    for slot in slots:
        layer = _find(network, slot.layer)
        if slot.is_blur:
            continue
        if not slot.is_norm:
            yield f'{slot.prefix}.weight', layer.kernel
            if layer.bias is not None:
                yield f'{slot.prefix}.bias', layer.bias
        elif isinstance(layer, BatchNorm):
            yield f'{slot.prefix}.weight', layer.scale
            yield f'{slot.prefix}.bias', layer.offset
            yield f'{slot.prefix}.running_mean', layer.running_mean
            yield f'{slot.prefix}.running_var', layer.running_variance


def _filters(network: tf.keras.Model, slots: Sequence[Slot]) -> Iterator[tuple[str, np.ndarray]]:
    """Key and value of every blur's filter, float32."""
    for slot in slots:
        if slot.is_blur:
            yield f'{slot.prefix}.{_FILTER}', _find(network, slot.layer).filter


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

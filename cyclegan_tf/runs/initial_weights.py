"""Weights to begin a training with, from another run or from files of the PyTorch programs: --init_from."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import averages
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.networks import torch_weights
from cyclegan_tf.runs import checkpoints, torch_files
from cyclegan_tf.settings.models import SETTINGS
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.settings.training import Config, NetworkRole

_KINDS = {
    'generator': torch_weights.guess_generator,
    'discriminator': torch_weights.guess_discriminator,
    'patch_features': torch_weights.guess_patch_features,
}
_SHOWN = 5  # number of weights that do not fit that are named


@dataclasses.dataclass(frozen=True)
class Source:
    """The weights of a network that is there.

    Attributes:
        what: what it is and where, in words.
        values: its weights, with our axes, by the paths of their attributes, or by their keys in PyTorch's files.
        state: what such a file holds; None: it is no such file.
    """

    what: str
    values: Mapping[str, np.ndarray]
    state: Optional[Mapping[str, np.ndarray]] = None


def begin(model: BaseModel) -> list[str]:
    """Gives a new model the weights of config.init_from, as many as fit.

    Running means of weights begin with the same ones. Optimizers, pools and the step stay as they are.

    Returns:
        A line for each network: what it got; and for what is there and was not taken.

    Raises:
        UserError: there is no such run or file; no weight fits; or, without config.init_partial, a network's weights do
            not all fit. Nothing has been assigned then.
    """
    config = model.config
    sources, unused = _find(config)
    networks, means = model.networks(), model.averages()
    lines, complaints, plans = [], [], []
    for name, network in networks.items():
        source = sources.get(name)
        if source is None:
            lines.append(f'{name}: initial weights; there is none for it.')
            continue
        slots = None if source.state is None else model.slots(name)
        if source.state is not None and slots is None:
            complaints.append(f'{name} has no counterpart in the PyTorch programs with these settings')
            continue
        variables = _variables(network, slots)
        fitting = {key for key, one in variables.items() if _shape(source.values.get(key)) == tuple(one.shape)}
        misfits = (
            _differences(variables, source)
            if slots is None
            else torch_weights.differences(network, slots, source.state)
        )
        if misfits:
            more = f', and {len(misfits) - _SHOWN} more' if len(misfits) > _SHOWN else ''
            complaints.append(f'{name} is not as in {source.what}: {"; ".join(misfits[:_SHOWN])}{more}')
        taken = f'all {len(variables)}' if len(fitting) == len(variables) else f'{len(fitting)} of {len(variables)}'
        lines.append(f'{name}: {taken} weights of {source.what}.')
        for one in filter(None, (network, means.get(name))):
            plans.append((_variables(one, slots), fitting, source))
    if complaints and not config.init_partial:
        raise UserError(
            f"`init_from` ('{config.init_from}') does not fit; correct the settings, or set --init_partial to take "
            f'what does:\n  ' + '\n  '.join(complaints)
        )
    if not any(fitting for _, fitting, _ in plans):
        raise UserError(f"`init_from` ('{config.init_from}') holds nothing that fits this model; set it to another.")
    for variables, fitting, source in plans:
        for key in fitting:
            variables[key].assign(source.values[key])
    unused = [f'{what}, which has no counterpart here' for what in unused]
    return lines + [f'Not taken: {line}.' for line in (*complaints, *unused)]


def _find(config: Config) -> tuple[dict[str, Source], list[str]]:
    """The sources of the networks' weights, by the networks' names; and what has no counterpart among the networks."""
    given = os.path.expanduser(config.init_from)
    place, _, epoch = given.rpartition('@') if '@' in os.path.basename(given) else (given, '', '')
    if os.path.isfile(given):
        return _from_files(config, [pathlib.Path(given)])
    for folder in (pathlib.Path(place), pathlib.Path(config.checkpoints_dir) / place):
        if (folder / 'flags.cfg').is_file():
            return _from_run(config, folder, epoch or 'latest')
    if os.path.isdir(place):
        pattern = f'{epoch or "latest"}_net_*.pth'
        files = sorted(pathlib.Path(place).glob(pattern))
        if files:
            return _from_files(config, files)
        raise UserError(f"`init_from` ('{config.init_from}') is a folder without {pattern}; set it to another.")
    raise UserError(
        f"`init_from` ('{config.init_from}') is no run in '{config.checkpoints_dir}', no file and no folder; set it to "
        f'one.'
    )


# ------------------------------------------------------------------------------------------------------------ from runs
def _from_run(config: Config, run_directory: pathlib.Path, epoch: str) -> tuple[dict[str, Source], list[str]]:
    """The networks of a run that do the same between the same folders of images; of a run with running means of its
    generators' weights, these."""
    there = load_config(run_directory)
    checkpoint = checkpoints.find(run_directory, epoch)
    theirs = {_between_folders(there, role): name for name, role in there.networks.items()}
    found = {}
    for name, role in config.networks.items():
        other = theirs.get(_between_folders(config, role))
        if other is None or other in checkpoint.untrained:
            continue
        mean = checkpoints.read_weights(checkpoint, averages.attribute(other))
        values = mean or checkpoints.read_weights(checkpoint, other.lower())
        if values:
            what = f'the running mean of {other}' if mean else other
            found[name] = Source(f"{what} in run '{run_directory}', step {checkpoint.step}", values)
    wanted = {_between_folders(config, role) for role in config.networks.values()}
    return found, [f"{name} in run '{run_directory}'" for role, name in theirs.items() if role not in wanted]


def _between_folders(config: Config, role: NetworkRole) -> tuple[Any, ...]:
    """A role with the names of the data set's folders, which --direction=BtoA exchanges."""
    folders = dict(zip('AB', config.domains))
    return role.kind, tuple(folders[domain] for domain in role.inputs), folders.get(role.output)


# ----------------------------------------------------------------------------------------------------------- from files
def _from_files(config: Config, files: list[pathlib.Path]) -> tuple[dict[str, Source], list[str]]:
    """The networks of PyTorch's files. A name such as latest_net_G_A.pth says which network it is, in whatever model; a
    file with another name, such as horse2zebra.pth, is the first of its kind: a generator is the one from A to B."""
    found, unused = {}, []
    for path in files:
        state = torch_weights.without_prefix(torch_files.read_state(str(path), f"`init_from` ('{path}')"))
        guesses = {kind: guess for kind, guess in ((kind, one(state)) for kind, one in _KINDS.items()) if guess}
        exact = [kind for kind, guess in guesses.items() if guess.exact] or list(guesses)
        if not exact:
            raise UserError(f"`init_from` ('{path}') holds no network that is known here; set it to another file.")
        named = re.search(r'_net_(\w+)\.pth$', path.name)
        own = [name for name, role in config.networks.items() if role.kind == exact[0]]
        if named:
            own = [name for name in own if _does_as(config.networks[name], name, named.group(1))]
        if not own:
            unused.append(f"'{path}'")
            continue
        axes = torch_weights.FROM_TORCH
        values = {key: value.transpose(axes[value.ndim]) for key, value in state.items() if value.ndim in axes}
        found[own[0]] = Source(f"'{path}'", values, state)
    return found, unused


def _does_as(role: NetworkRole, name: str, other: str) -> bool:
    """Whether a network is the other one, or does what a network of that name does in any model."""
    roles = [settings.networks[other] for settings in SETTINGS.values() if other in settings.networks]
    return name == other or role in roles


# ------------------------------------------------------------------------------------------------------------ variables
def _variables(network: tf.keras.Model, slots: Optional[list[torch_weights.Slot]] = None) -> dict[str, tf.Variable]:
    """A network's variables by their keys in PyTorch's files, if slots are given; else by the paths of attributes that
    lead to them, which networks of the same class share."""
    if slots is not None:
        return dict(torch_weights.variables(network, slots))
    view, found, seen = tf.train.TrackableView(network), {}, {id(network)}
    waiting = collections.deque([('', network)])
    while waiting:  # shortest paths first, as in checkpoints
        path, node = waiting.popleft()
        if isinstance(node, tf.Variable):
            found[path] = node
            continue
        for name, child in view.children(node).items():
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append((f'{path}/{name}' if path else name, child))
    return found


def _shape(value: Optional[np.ndarray]) -> Optional[tuple[int, ...]]:
    return None if value is None else tuple(value.shape)


def _differences(variables: Mapping[str, tf.Variable], source: Source) -> list[str]:
    """As torch_weights.differences."""
    lines = []
    for key, variable in variables.items():
        value = source.values.get(key)
        if value is None:
            lines.append(f'{key} is missing, of shape {list(variable.shape)}')
        elif value.shape != tuple(variable.shape):
            lines.append(f'{key} has shape {list(value.shape)}, not {list(variable.shape)}')
    return lines + [f'{key} is unexpected' for key in source.values if key not in variables]

"""Makes a run from PyTorch's weights: reads the files, checks that they and the flags agree, writes the directory."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.data import image_source
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.networks import torch_weights
from cyclegan_tf.runs import checkpoint_store, checkpoints, torch_files
from cyclegan_tf.settings.run_flags import save_config
from cyclegan_tf.settings.torch_import import Arguments
from cyclegan_tf.settings.training import Config, NetworkRole
from cyclegan_tf.training.progress import Progress

CHANNELS = {'A': 'input_nc', 'B': 'output_nc'}  # the model's domain -> the setting of its channels
# Kind of network -> what infers its architecture from its file; settings.torch_import.KINDS has the same kinds.
GUESSES = {
    'generator': torch_weights.guess_generator,
    'discriminator': torch_weights.guess_discriminator,
    'patch_features': torch_weights.guess_patch_features,
}
OWN_NORMS = {'generator': 'normG', 'discriminator': 'normD'}  # kind of network -> the setting of its norm
NAMES = {'generator': 'generator', 'discriminator': 'discriminator', 'patch_features': 'network of patch features'}


@dataclasses.dataclass(frozen=True)
class File:
    """The weights of one network.

    Attributes:
        name: the name of the network, as in 'G_A'.
        role: what the network is for.
        path: the path of the file.
        state: the network's state_dict, float32 arrays by key.
        guess: the architecture inferred from it.
    """

    name: str
    role: NetworkRole
    path: str
    state: Mapping[str, np.ndarray]
    guess: torch_weights.Guess

    def __str__(self):
        return f"`{self.name.lower()}` ('{self.path}')"


def make_run(arguments: Arguments) -> None:
    """Reads and checks the files, writes the run, and prints what it consists of.

    Raises:
        UserError: PyTorch is missing; a file cannot be read or does not fit, and the message lists every key; flags and
            files contradict each other; the run exists. Nothing is written then.
    """
    networks = arguments.settings_class.networks
    files = [read(name, networks[name], path) for name, path in arguments.paths.items()]
    config = make_config(arguments, files)
    run_directory = pathlib.Path(config.checkpoints_dir) / config.run_name
    if any(checkpoints.scan(run_directory)):
        raise UserError(f"run '{run_directory}' holds a checkpoint, which is never overwritten; set another --name.")
    model = MODELS[config.model](config)
    fill(model, config, files)
    missing = [name for name in networks if name not in arguments.paths]
    write(run_directory, config, model, missing)

    for file in files:
        print(f'{file.name}: {describe(model, file)}, from {file.path}')
    if missing:
        print(f'Without a file, so with initial weights as in a new training: {", ".join(missing)}')
    for direction, name in config.translating_networks.items():
        if name in missing:
            print(f'No image can be translated {direction} before the run is trained: it has no weights for {name}.')
    print(f'Run directory: {run_directory}, {config.input_nc} channels in A, {config.output_nc} in B.')


# ------------------------------------------------------------------------------------------------------------ the files
def read(name: str, role: NetworkRole, path: str) -> File:
    """Reads one network's file.

    Raises:
        UserError: the file is missing, is not a state_dict, or holds no such network.
    """
    where = f"`{name.lower()}` ('{path}')"
    state = torch_weights.without_prefix(torch_files.read_state(path, where))
    guesses = {kind: guess(state) for kind, guess in GUESSES.items()}
    for other, guess in guesses.items():
        if other != role.kind and guess is not None and guess.exact:
            raise UserError(f'{where} holds a {NAMES[other]}; set it to the file of a {NAMES[role.kind]}.')
    if guesses[role.kind] is None:
        keys = ', '.join(list(state)[:3]) or 'none'
        raise UserError(
            f'{where} holds no layer of a {NAMES[role.kind]} (its first keys: {keys}); set it to another file.'
        )
    return File(name, role, path, state, guesses[role.kind])


# --------------------------------------------------------------------------------------------------------- the settings
def make_config(arguments: Arguments, files: Sequence[File]) -> Config:
    """The settings of the run: those that the files determine, and the flags for all others.

    Raises:
        UserError: a given flag contradicts a file, or two files contradict each other; or the settings are not valid.
    """
    flags, given = arguments.settings, arguments.given
    settings: dict[str, Any] = {}
    file_of: dict[str, File] = {}
    lines = []
    for file in files:
        inferred = inferred_settings(arguments.settings_class, file, given)
        if inferred.get('netD') == 'basic' and 'netD' in given and flags['netD'] == 'n_layers':
            inferred['netD'] = 'n_layers'  # with three layers it is the same network
        for name, value in inferred.items():
            if value is None:
                continue
            if name in given and flags[name] != value:
                lines.append(f'`{name}` ({flags[name]}) is not what {file} holds ({value})')
            elif settings.setdefault(name, value) != value:
                lines.append(f'{file} holds {name} {value}, {file_of[name]} holds {settings[name]}')
            file_of.setdefault(name, file)
    if lines:
        raise UserError(
            'flags and files contradict each other; leave the flags out, or import the files as two runs:\n  '
            + '\n  '.join(lines)
        )
    settings = {**flags, **one_norm(arguments.settings_class, settings, given)}
    if settings['input_nc'] != settings['output_nc'] and 'lambda_identity' in settings.keys() - given:
        settings['lambda_identity'] = 0.0  # it compares images of A and B, which need equal channels for that
    config = arguments.settings_class(**settings)
    if config.pool_size and not config.crops:
        raise UserError(
            f'`preprocess` ({config.preprocess}) leaves open how large the images in the pools are; set --pool_size=0, '
            f'which such a training needs.'
        )
    return config


def inferred_settings(settings_class: type[Config], file: File, given: Collection[str]) -> dict[str, Any]:
    """The settings that a file determines; None for those that it does not. `given` are the names of given flags: a
    norm that is given is that of all networks without one of their own.

    Raises:
        UserError: it is a network that the model has not.
    """
    inferred = {**file.guess.settings, **inferred_channels(file)}
    known = settings_class.__dataclass_fields__
    if 'nce_layers' in known and str(inferred.get('netG')).startswith('unet'):
        raise UserError(f'{file} holds a U-Net, which CUT does not have; set --model=pix2pix.')
    own = OWN_NORMS.get(file.role.kind)
    if 'norm' in inferred and ('norm' not in given or own in given):
        inferred[own] = inferred.pop('norm')
    return inferred


def one_norm(settings_class: type[Config], inferred: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Inferred settings with the norm of a generator or a discriminator as that of all networks, unless they differ, or
    that of all networks is given: the programs of CycleGAN and pix2pix know no others, so that a network without a file
    has the same. CUT's program does.
    """
    norms = {inferred[name] for name in OWN_NORMS.values() if inferred.get(name)}
    if len(norms) != 1 or 'norm' in given or 'nce_layers' in settings_class.__dataclass_fields__:
        return dict(inferred)
    others = {name: value for name, value in inferred.items() if name not in OWN_NORMS.values()}
    return {**others, 'norm': norms.pop()}


def inferred_channels(file: File) -> dict[str, Optional[int]]:
    """The settings of channels that a file determines; None for those that it does not."""
    into, out = file.guess.channels
    # Of several input domains a file shows only the sum of channels, which is checked when the weights are assigned.
    inferred = {CHANNELS[file.role.inputs[0]]: into} if len(file.role.inputs) == 1 else {}
    return {**inferred, CHANNELS[file.role.output]: out} if file.role.output else inferred


# ---------------------------------------------------------------------------------------------------------- the weights
def fill(model: BaseModel, config: Config, files: Sequence[File]) -> None:
    """Assigns the weights to the model's networks.

    Raises:
        UserError: weights do not fit, and the message lists all keys.
    """
    networks, slots, complaints = model.networks(), {file.name: model.slots(file.name) for file in files}, []
    for file in files:
        if slots[file.name] is None:
            complaints.append(
                f'{file} is of no use, since the PyTorch programs have no weights for {file.name} with these settings; '
                f'leave it out'
            )
            continue
        lines = torch_weights.differences(networks[file.name], slots[file.name], file.state)
        if lines:
            complaints.append(
                f'{file} does not fit {describe(model, file)}, the nearest architecture; set it to another file '
                f'or correct it:\n  ' + '\n  '.join(lines)
            )
    if complaints:
        raise UserError('\n'.join(complaints))
    averages = model.averages()
    for file in files:
        for network in filter(None, (networks[file.name], averages.get(file.name))):
            torch_weights.assign(network, slots[file.name], file.state)


def describe(model: BaseModel, file: File) -> str:
    """The architecture of a file's network."""
    config, kind = model.config, model.kind(file.name)
    if file.role.kind == 'patch_features':
        return f'{kind} with {config.netF_nc} features for each of the layers {config.nce_layers}'
    filters = config.ngf if file.role.kind == 'generator' else config.ndf
    antialias = ', antialiased' if any(config.antialiased) and kind != 'pixel' else ''
    return f'{kind} with {filters} filters and norm {config.norms[file.role.kind]}{antialias}'


def write(run_directory: pathlib.Path, config: Config, model: BaseModel, missing: Sequence[str]) -> None:
    """Creates the run's directory. Its checkpoint appears last, so that any run that is found is complete."""
    try:
        run_directory.mkdir(parents=True, exist_ok=True)
        step = int(model.step.numpy())
        checkpoints.mark_untrained(run_directory, step, names=missing)
        save_config(config, run_directory)
        progress = Progress(len(model.metric_names))
        checkpoint_store.Checkpoints(run_directory, model, progress, config.keep_checkpoints).save_latest(step)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"`checkpoints_dir` ('{config.checkpoints_dir}') cannot be written ({image_source.reason(error)}); set it "
            f'to another.'
        ) from error

"""Makes a run of weights from PyTorch: python tools/import_torch_weights.py --g_a=horse2zebra.pth --name=RUN

It reads what the PyTorch program of CycleGAN saves, and what its authors published, in both of PyTorch's file formats.
The architecture comes from the file; only dropout in U-Nets leaves no trace there (--no_dropout=false). The run is one
that has not done a step yet: translate it, or go on with cyclegan_tf.train --continue_train. All flags of training are
taken too, for that: they come to the run's flags.cfg. Networks without a file get weights as for a new training. Which
files there can be follows from --model.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

# isort: off
import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# isort: on
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from cyclegan_tf.data import image_source  # noqa: E402
from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.models import MODELS  # noqa: E402
from cyclegan_tf.models.base import BaseModel  # noqa: E402
from cyclegan_tf.networks import torch_weights  # noqa: E402
from cyclegan_tf.runs import checkpoint_store, checkpoints  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings.flags import define_flag, define_flags, read_training_flags  # noqa: E402
from cyclegan_tf.settings.models import SETTINGS, owners  # noqa: E402
from cyclegan_tf.settings.run_flags import save_config  # noqa: E402
from cyclegan_tf.settings.training import Config, NetworkRole  # noqa: E402
from cyclegan_tf.training.progress import Progress  # noqa: E402

NO_DATAROOT = 'none (weights from PyTorch)'  # what flags.cfg says of images that nobody has named
CHANNELS = {'A': 'input_nc', 'B': 'output_nc'}  # the model's domain -> the setting of its channels
GUESSES = {'generator': torch_weights.guess_generator, 'discriminator': torch_weights.guess_discriminator}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the command line says.

    Attributes:
        settings_class: of the model's settings.
        settings: of training by name, with the model's defaults; not yet seen to fit together, since what the files say
            comes first.
        given: the names of those that are on the command line or in a flag file.
        paths: of the files by their networks' names, in the model's order.
    """

    settings_class: type[Config]
    settings: Mapping[str, Any]
    given: frozenset[str]
    paths: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class File:
    """One network's weights.

    Attributes:
        name: of the network, as in 'G_A'.
        role: what it is for.
        path: of the file.
        state: its state_dict, float32 arrays by key.
        guess: its architecture.
    """

    name: str
    role: NetworkRole
    path: str
    state: Mapping[str, np.ndarray]
    guess: torch_weights.Guess

    def __str__(self):
        return f"`{self.name.lower()}` ('{self.path}')"


def parse(argv: list[str]) -> Arguments:
    """Command line to settings of training, and the files.

    Raises:
        flags.Error: a flag that does not exist, is another model's or cannot be read.
        UserError: no file of a generator is named; a flag has no meaning here.
    """
    values = define_flags(Config)
    roles: dict[str, dict[str, NetworkRole]] = {}  # flag of a file -> model -> what its network is for
    for model, settings_class in SETTINGS.items():
        for name, role in settings_class.networks.items():
            if role.kind in GUESSES:  # of others the keys are not known
                roles.setdefault(name.lower(), {})[model] = role
    for flag, of_models in roles.items():
        meanings = dict.fromkeys(file_meaning(flag, role) for role in of_models.values())
        define_flag(values, flag, str, None, '; or '.join(meanings))
    dataroot = values['dataroot']
    dataroot.help = 'where the images are, for flags.cfg; unset: translating and training then need --dataroot'
    values.set_default('dataroot', NO_DATAROOT)
    files_of = {flag: tuple(of_models) for flag, of_models in roles.items()}
    settings_class = read_training_flags(values, argv, {**owners(), **files_of})
    given = frozenset(name for name in values if values[name].present)
    for name in ('continue_train', 'epoch', 'profile_steps'):
        if name in given:
            raise UserError(f'`{name}` ({values[name].value}) is of training and has no meaning here; leave it out.')
    networks = settings_class.networks
    generators = [name.lower() for name, role in networks.items() if role.kind == 'generator']
    if not any(values[flag].value for flag in generators):
        first, *others = generators
        which = ' or '.join([f"`{first}` ('')", *(f'`{flag}`' for flag in others)])
        raise UserError(f'{which} is required; set {"one" if others else "it"} to the file of a generator.')
    settings = {field.name: values[field.name].value for field in dataclasses.fields(settings_class)}
    paths = {name: values[name.lower()].value for name in networks if values[name.lower()].value}
    return Arguments(settings_class, settings, given, paths)


def file_meaning(flag: str, role: NetworkRole) -> str:
    """What --help says of a network's file."""
    domains = ' and '.join(role.inputs)
    of_which = f'from domain {domains} to {role.output}' if role.output else f'which judges images of domain {domains}'
    return f'the file of {flag.upper()}, {of_which}'


def main(arguments: Arguments) -> int:
    """Reads, checks and writes; returns the exit status.

    Raises:
        UserError: PyTorch is missing; a file cannot be read or does not fit, in which case the message lists every
            key; flags and files contradict each other; the run exists. Nothing is written then.
    """
    torch = import_torch()
    networks = arguments.settings_class.networks
    files = [read(torch, name, networks[name], path) for name, path in arguments.paths.items()]
    config = make_config(arguments, files)
    run_directory = pathlib.Path(config.checkpoints_dir) / config.run_name
    if any(checkpoints.scan(run_directory)):
        raise UserError(f"run '{run_directory}' holds a checkpoint, which is never overwritten; set another --name.")
    model = MODELS[config.model](config)
    fill(model.networks(), config, files)
    missing = [name for name in networks if name not in arguments.paths]
    write(run_directory, config, model, missing)

    for file in files:
        print(f'{file.name}: {describe(file.role, config)}, from {file.path}')
    if missing:
        print(f'Without a file, new as for a training that begins: {", ".join(missing)}')
    for direction, name in config.translating_networks.items():
        if name in missing:
            print(f'No image is translated {direction} before the run is trained: it has no weights of {name}.')
    print(f'Run directory: {run_directory}, {config.input_nc} channels in A, {config.output_nc} in B.')
    return 0


# ------------------------------------------------------------------------------------------------------------ the files
def import_torch() -> Any:
    """The module torch, which only users of its files have to have."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "PyTorch is not installed, which reads these files; install cyclegan_tf's extra 'torch': "
            "pip install '.[torch]'."
        ) from error
    return torch


def read(torch: Any, name: str, role: NetworkRole, path: str) -> File:
    """One network's file.

    Raises:
        UserError: it is missing, is no state_dict, or holds nothing of such a network.
    """
    where = f"`{name.lower()}` ('{path}')"
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(f'{where} is no file; set it to one that the PyTorch program has saved.')
    try:
        # weights_only: a pickle from the internet could otherwise run anything.
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # what the bytes of a damaged file make the reader raise is not foreseeable
        reason = getattr(error, 'strerror', None) or type(error).__name__  # messages of PyTorch's are pages
        raise UserError(
            f'{where} cannot be read as weights ({reason}); set it to a whole file with a state_dict, as the PyTorch '
            f'program saves it.'
        ) from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise UserError(f'{where} holds something else than a state_dict; set it to a file with the weights alone.')
    odd = [key for key, value in loaded.items() if value.layout != torch.strided or value.is_complex()]
    if odd:
        raise UserError(f'{where} holds tensors that are sparse or complex ({", ".join(odd)}); set it to another file.')
    state = {key: value.detach().to(torch.float32).numpy() for key, value in loaded.items()}
    broken = [key for key, value in state.items() if not np.isfinite(value).all()]
    if broken:
        raise UserError(f'{where} holds weights that are not finite ({", ".join(broken)}); set it to another file.')
    state = torch_weights.without_prefix(state)
    guesses = {kind: guess(state) for kind, guess in GUESSES.items()}
    for other, guess in guesses.items():
        if other != role.kind and guess is not None and guess.exact:
            raise UserError(f'{where} holds a {other}; set it to the file of a {role.kind}.')
    if guesses[role.kind] is None:
        keys = ', '.join(list(state)[:3]) or 'none'
        raise UserError(f'{where} holds no layer of a {role.kind} (its first keys: {keys}); set it to another file.')
    return File(name, role, path, state, guesses[role.kind])


# --------------------------------------------------------------------------------------------------------- the settings
def make_config(arguments: Arguments, files: Sequence[File]) -> Config:
    """The settings of the run: what the files tell, then the flags.

    Raises:
        UserError: a flag that is given contradicts a file, or a file another one; or the settings make no run.
    """
    flags, given = arguments.settings, arguments.given
    settings: dict[str, Any] = {}
    said_by: dict[str, File] = {}
    lines = []
    for file in files:
        told = dict(file.guess.settings)
        told.update(told_channels(file))
        if told.get('netD') == 'basic' and 'netD' in given and flags['netD'] == 'n_layers':
            told['netD'] = 'n_layers'  # with three layers it is the same network
        for name, value in told.items():
            if value is None:
                continue
            if name in given and flags[name] != value:
                lines.append(f'`{name}` ({flags[name]}) is not what {file} holds ({value})')
            elif settings.setdefault(name, value) != value:
                lines.append(f'{file} holds {name} {value}, {said_by[name]} holds {settings[name]}')
            said_by.setdefault(name, file)
    if lines:
        raise UserError(
            'flags and files contradict each other; leave the flags out, or import the files as two runs:\n  '
            + '\n  '.join(lines)
        )
    settings = {**flags, **settings}
    if settings['input_nc'] != settings['output_nc'] and 'lambda_identity' in settings.keys() - given:
        settings['lambda_identity'] = 0.0  # it compares images of A and B, which these channels do not allow
    config = arguments.settings_class(**settings)
    if config.pool_size and not config.crops:
        raise UserError(
            f'`preprocess` ({config.preprocess}) leaves open how large the images of the pools are; set --pool_size=0, '
            f'which such a training takes.'
        )
    return config


def told_channels(file: File) -> dict[str, Optional[int]]:
    """The settings of channels that a file tells of; None where it does not."""
    into, out = file.guess.channels
    # Of several domains together it tells the sum alone, which is compared when the weights are put in.
    told = {CHANNELS[file.role.inputs[0]]: into} if len(file.role.inputs) == 1 else {}
    return {**told, CHANNELS[file.role.output]: out} if file.role.output else told


# ---------------------------------------------------------------------------------------------------------- the weights
def fill(networks: Mapping[str, tf.keras.Model], config: Config, files: Sequence[File]) -> None:
    """Puts the weights into the networks.

    Raises:
        UserError: some do not fit; the message lists all keys.
    """
    generator = torch_weights.generator_slots(config.netG, not config.no_dropout)
    discriminator = torch_weights.discriminator_slots(config.netD, config.n_layers_D)
    slots = {file.name: generator if file.role.kind == 'generator' else discriminator for file in files}
    complaints = []
    for file in files:
        lines = torch_weights.differences(networks[file.name], slots[file.name], file.state)
        if lines:
            complaints.append(
                f'{file} does not fit {describe(file.role, config)}, the nearest there is; set it to another file or '
                f'mend:\n  ' + '\n  '.join(lines)
            )
    if complaints:
        raise UserError('\n'.join(complaints))
    for file in files:
        torch_weights.assign(networks[file.name], slots[file.name], file.state)


def describe(role: NetworkRole, config: Config) -> str:
    """The architecture of a network."""
    kind, filters = (config.netG, config.ngf) if role.kind == 'generator' else (config.netD, config.ndf)
    return f'{kind} with {filters} filters and norm {config.norm}'


def write(run_directory: pathlib.Path, config: Config, model: BaseModel, missing: Sequence[str]) -> None:
    """Makes the run's directory. Its checkpoint appears last, so that a run that can be found is complete."""
    try:
        run_directory.mkdir(parents=True, exist_ok=True)
        checkpoints.mark_untrained(run_directory, step=0, names=missing)
        save_config(config, run_directory)
        progress = Progress(len(model.metric_names))
        checkpoint_store.Checkpoints(run_directory, model, progress, config.keep_checkpoints).save_latest(0)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"`checkpoints_dir` ('{config.checkpoints_dir}') cannot be written ({image_source.reason(error)}); set it "
            f'to another.'
        ) from error


if __name__ == '__main__':
    run_program('tools/import_torch_weights.py', parse, main)

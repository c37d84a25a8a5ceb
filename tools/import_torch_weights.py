"""Makes a run of weights from PyTorch: python tools/import_torch_weights.py --g_a=horse2zebra.pth --name=RUN

It reads what the PyTorch program of CycleGAN saves, and what its authors published, in both of PyTorch's file formats.
The architecture comes from the file; only dropout in U-Nets leaves no trace there (--no_dropout=false). The run is one
that has not done a step yet: translate it, or go on with cyclegan_tf.train --continue_train. All flags of training are
taken too, for that: they come to the run's flags.cfg. Networks without a file get weights as for a new training.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

# isort: off
import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# isort: on
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from cyclegan_tf import checkpoint_store, checkpoints, options, torch_weights  # noqa: E402
from cyclegan_tf.config import Config, setting  # noqa: E402
from cyclegan_tf.data import sources  # noqa: E402
from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.models import MODELS  # noqa: E402
from cyclegan_tf.models.interface import Model  # noqa: E402
from cyclegan_tf.progress import Progress  # noqa: E402

NO_DATAROOT = 'none (weights from PyTorch)'  # what flags.cfg says of images that nobody has named
KINDS = {'G': 'generator', 'D': 'discriminator'}
# Settings that a network's channels are, those in and a generator's out: D_A judges images of domain B.
CHANNELS = {
    'G_A': ('input_nc', 'output_nc'),
    'G_B': ('output_nc', 'input_nc'),
    'D_A': ('output_nc',),
    'D_B': ('input_nc',),
}


@dataclasses.dataclass(frozen=True)
class ImportConfig(Config):
    """Where the weights are, beside the settings of training."""

    g_a: Optional[str] = setting(None, 'the file of G_A, from domain A to B; this or g_b is required')
    g_b: Optional[str] = setting(None, 'the file of G_B, from domain B to A')
    d_a: Optional[str] = setting(None, 'the file of D_A, which judges images of domain B')
    d_b: Optional[str] = setting(None, 'the file of D_B, which judges images of domain A')
    dataroot: str = setting(
        NO_DATAROOT, 'where the images are, for flags.cfg; unset: translating and training then need --dataroot'
    )

    def __post_init__(self):
        """Does not look at the settings of training yet: what the files say comes first."""
        if not self.g_a and not self.g_b:
            raise UserError("`g_a` ('') or `g_b` is required; set one to the file of a generator.")


@dataclasses.dataclass(frozen=True)
class File:
    """One network's weights.

    Attributes:
        name: of the network, as in 'G_A'.
        path: of the file.
        state: its state_dict, float32 arrays by key.
        guess: its architecture.
    """

    name: str
    path: str
    state: Mapping[str, np.ndarray]
    guess: torch_weights.Guess

    def __str__(self):
        return f"`{self.name.lower()}` ('{self.path}')"


def parse(argv: list[str]) -> tuple[ImportConfig, frozenset[str]]:
    """Command line to settings, and the names of those that are on it or in a flag file.

    Raises:
        flags.Error: a flag that does not exist or cannot be read.
        UserError: no file of a generator is named; a flag has no meaning here.
    """
    values = options.define_flags(ImportConfig)
    values(argv)
    given = frozenset(name for name in values if values[name].present)
    for name in ('continue_train', 'epoch', 'profile_steps'):
        if name in given:
            raise UserError(f'`{name}` ({values[name].value}) is of training and has no meaning here; leave it out.')
    return options.parse(ImportConfig, argv), given


def main(arguments: tuple[ImportConfig, frozenset[str]]) -> int:
    """Reads, checks and writes; returns the exit status.

    Raises:
        UserError: PyTorch is missing; a file cannot be read or does not fit, in which case the message lists every
            key; flags and files contradict each other; the run exists. Nothing is written then.
    """
    flags, given = arguments
    torch = import_torch()
    files = [read(torch, name, getattr(flags, name.lower())) for name in CHANNELS if getattr(flags, name.lower())]
    config = make_config(flags, given, files)
    run_directory = pathlib.Path(config.checkpoints_dir) / config.run_name
    if any(checkpoints.scan(run_directory)):
        raise UserError(f"run '{run_directory}' holds a checkpoint, which is never overwritten; set another --name.")
    model = MODELS[config.model](config)
    networks = model.networks()
    fill(networks, config, files)
    missing = [name for name in networks if name not in {file.name for file in files}]
    write(run_directory, config, model, missing)

    for file in files:
        print(f'{file.name}: {describe(file.name, config)}, from {file.path}')
    if missing:
        print(f'Without a file, new as for a training that begins: {", ".join(missing)}')
    for direction, network in model.translators().items():
        name = next(name for name in networks if networks[name] is network)
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


def read(torch: Any, name: str, path: str) -> File:
    """One file.

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
    guesses = {'G': torch_weights.guess_generator(state), 'D': torch_weights.guess_discriminator(state)}
    kind, other = name[0], {'G': 'D', 'D': 'G'}[name[0]]
    if guesses[other] is not None and guesses[other].exact:
        raise UserError(f'{where} holds a {KINDS[other]}; set it to the file of a {KINDS[kind]}.')
    if guesses[kind] is None:
        keys = ', '.join(list(state)[:3]) or 'none'
        raise UserError(f'{where} holds no layer of a {KINDS[kind]} (its first keys: {keys}); set it to another file.')
    return File(name, path, state, guesses[kind])


# --------------------------------------------------------------------------------------------------------- the settings
def make_config(flags: ImportConfig, given: Collection[str], files: Sequence[File]) -> Config:
    """The settings of the run: what the files tell, then the flags.

    Raises:
        UserError: a flag that is given contradicts a file, or a file another one; or the settings make no run.
    """
    settings: dict[str, Any] = {}
    said_by: dict[str, File] = {}
    lines = []
    for file in files:
        told = dict(file.guess.settings)
        told.update(zip(CHANNELS[file.name], file.guess.channels))
        if told.get('netD') == 'basic' and 'netD' in given and flags.netD == 'n_layers':
            told['netD'] = 'n_layers'  # with three layers it is the same network
        for name, value in told.items():
            if value is None:
                continue
            if name in given and getattr(flags, name) != value:
                lines.append(f'`{name}` ({getattr(flags, name)}) is not what {file} holds ({value})')
            elif settings.setdefault(name, value) != value:
                lines.append(f'{file} holds {name} {value}, {said_by[name]} holds {settings[name]}')
            said_by.setdefault(name, file)
    if lines:
        raise UserError(
            'flags and files contradict each other; leave the flags out, or import the files as two runs:\n  '
            + '\n  '.join(lines)
        )
    defaults = {field.name: getattr(flags, field.name) for field in dataclasses.fields(Config)}
    settings = {**defaults, **settings}
    if settings['input_nc'] != settings['output_nc'] and 'lambda_identity' not in given:
        settings['lambda_identity'] = 0.0  # it compares images of A and B, which these channels do not allow
    config = Config(**settings)
    if config.pool_size and not config.crops:
        raise UserError(
            f'`preprocess` ({config.preprocess}) leaves open how large the images of the pools are; set --pool_size=0, '
            f'which such a training takes.'
        )
    return config


# ---------------------------------------------------------------------------------------------------------- the weights
def fill(networks: Mapping[str, tf.keras.Model], config: Config, files: Sequence[File]) -> None:
    """Puts the weights into the networks.

    Raises:
        UserError: some do not fit; the message lists all keys.
    """
    generator = torch_weights.generator_slots(config.netG, not config.no_dropout)
    discriminator = torch_weights.discriminator_slots(config.netD, config.n_layers_D)
    slots = {file.name: generator if file.name[0] == 'G' else discriminator for file in files}
    complaints = []
    for file in files:
        lines = torch_weights.differences(networks[file.name], slots[file.name], file.state)
        if lines:
            complaints.append(
                f'{file} does not fit {describe(file.name, config)}, the nearest there is; set it to another file or '
                f'mend:\n  ' + '\n  '.join(lines)
            )
    if complaints:
        raise UserError('\n'.join(complaints))
    for file in files:
        torch_weights.assign(networks[file.name], slots[file.name], file.state)


def describe(name: str, config: Config) -> str:
    """The architecture of a network."""
    kind, filters = (config.netG, config.ngf) if name[0] == 'G' else (config.netD, config.ndf)
    return f'{kind} with {filters} filters and norm {config.norm}'


def write(run_directory: pathlib.Path, config: Config, model: Model, missing: Sequence[str]) -> None:
    """Makes the run's directory. Its checkpoint appears last, so that a run that can be found is complete."""
    try:
        run_directory.mkdir(parents=True, exist_ok=True)
        checkpoints.mark_untrained(run_directory, step=0, names=missing)
        options.save_config(config, run_directory)
        progress = Progress(len(model.metric_names))
        checkpoint_store.Checkpoints(run_directory, model, progress, config.keep_checkpoints).save_latest(0)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"`checkpoints_dir` ('{config.checkpoints_dir}') cannot be written ({sources.reason(error)}); set it to "
            f'another.'
        ) from error


if __name__ == '__main__':
    options.run_program('tools/import_torch_weights.py', parse, main)

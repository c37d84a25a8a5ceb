"""The settings of a training run: read from the command line and from the run's flags.cfg, and saved there."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Optional

from absl import flags

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.files import write_whole
from cyclegan_tf.settings.flags import asks_for_help, define_flags, not_a_flag, parse, set_model_defaults, values_of
from cyclegan_tf.settings.models import SETTINGS
from cyclegan_tf.settings.reference_flags import REFUSED_IN_TRAINING
from cyclegan_tf.settings.run_name import fill_in
from cyclegan_tf.settings.training import Config


def parse_training(argv: Sequence[str]) -> tuple[Config, Optional[Config]]:
    """Command line to the settings of a training run; a continued run takes what is not given from its flags.cfg.

    Returns:
        The settings; and those that the run was last trained with, or None if it is not continued.
    """
    # The command line of a continued run need not be valid without flags.cfg, and its flags may be those of a model
    # that only flags.cfg names. So it is read once without checks, to find the run.
    values = define_flags(Config, REFUSED_IN_TRAINING)
    rest = values(list(argv))[1:]
    if rest and not asks_for_help(values):
        raise UserError(not_a_flag(values, argv, rest[0]))
    if values.continue_train and not asks_for_help(values):
        set_model_defaults(values)
        given = values_of(SETTINGS[values.model], values)
        run_directory = pathlib.Path(values.checkpoints_dir) / fill_in(values.name, values.suffix, given)
        stored_flags = run_directory / 'flags.cfg'
        if not stored_flags.is_file():
            # This model's settings were filled into the suffix.
            model = ', and --model, whose settings are filled into --suffix' if '{' in values.suffix else ''
            raise UserError(
                f"run '{run_directory}' holds no checkpoint to continue from; check --name and --checkpoints_dir"
                f'{model}, or leave out --continue_train.'
            )
        stored = load_config(run_directory)
        if values['model'].present and values.model != stored.model:
            # Checked before parse() below refuses the stored flags as those of another model.
            raise UserError(
                f'`model` ({values.model}) is not what the run was trained with ({stored.model}); leave it out, '
                f'or start another run with another --name.'
            )
        # The directory and the name led to the file, so they override those that are stored in it.
        location = [f'--{name}={values[name].value}' for name in ('checkpoints_dir', 'name', 'suffix')]
        complete = [argv[0], f'--flagfile={stored_flags}', *location, *argv[1:]]
        return parse(Config, complete, REFUSED_IN_TRAINING), stored
    return parse(Config, argv, REFUSED_IN_TRAINING), None


def load_config(run_directory: os.PathLike) -> Config:
    """The settings of a run.

    Raises:
        UserError: the run does not exist, or its flags.cfg cannot be read.
    """
    path = pathlib.Path(run_directory) / 'flags.cfg'
    if not path.is_file():
        raise UserError(
            f"'{path}' does not exist; set --checkpoints_dir and --name to a run that cyclegan_tf.train has made."
        )
    try:
        return parse(Config, ['flags.cfg', f'--flagfile={path}'])
    except flags.Error as error:
        raise UserError(f"'{path}' cannot be read ({error}); restore it, or train again.") from error


def save_config(config: Config, run_directory: os.PathLike) -> None:
    """Writes flags.cfg, which can be given as --flagfile. The file appears completely or not at all."""
    lines = [f'# python -m cyclegan_tf.train --flagfile={pathlib.Path(run_directory) / "flags.cfg"}']
    for name, value in dataclasses.asdict(config).items():
        # Flags that concern one invocation only are not part of the run.
        if name in ('continue_train', 'epoch', 'profile_steps') or value is None:
            continue
        lines.append(f'--{name}={str(value).lower() if isinstance(value, bool) else value}')
    text = '\n'.join(lines) + '\n'
    write_whole(pathlib.Path(run_directory) / 'flags.cfg', text.encode(errors='surrogateescape'))

"""The settings of a training run: from the command line, from flags.cfg in its directory, and into that."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Optional

from absl import flags

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.files import write_whole
from cyclegan_tf.settings.flags import asks_for_help, define_flags, parse, set_model_defaults, values_of
from cyclegan_tf.settings.models import SETTINGS
from cyclegan_tf.settings.reference_flags import REFUSED_IN_TRAINING
from cyclegan_tf.settings.run_name import fill_in
from cyclegan_tf.settings.training import Config


def parse_training(argv: Sequence[str]) -> tuple[Config, Optional[Config]]:
    """Command line to the settings of a training run; a continued run takes what is not given from its flags.cfg.

    Returns:
        The settings; and those that the run was last trained with, if it is continued and has any.
    """
    # The run's own settings complete a command line that need not be valid without them: also its flags may be those of
    # a model that only flags.cfg names.
    names = define_flags(Config, REFUSED_IN_TRAINING)
    names(list(argv))
    if names.continue_train and not asks_for_help(names):
        set_model_defaults(names)
        given = values_of(SETTINGS[names.model], names)
        run_directory = pathlib.Path(names.checkpoints_dir) / fill_in(names.name, names.suffix, given)
        stored_flags = run_directory / 'flags.cfg'
        if not stored_flags.is_file():
            # The suffix was filled in with this model's settings.
            model = ', and --model, whose settings --suffix names' if '{' in names.suffix else ''
            raise UserError(
                f"run '{run_directory}' holds no checkpoint to continue from; check --name and --checkpoints_dir"
                f'{model}, or leave out --continue_train.'
            )
        stored = load_config(run_directory)
        if names['model'].present and names.model != stored.model:
            # Before its flags are taken for those of another model.
            raise UserError(
                f'`model` ({names.model}) is not what the run was trained with ({stored.model}); leave it out, '
                f'or start another run with another --name.'
            )
        # The place and the name are what found the file, not what is in it.
        found = [f'--{name}={names[name].value}' for name in ('checkpoints_dir', 'name', 'suffix')]
        complete = [argv[0], f'--flagfile={stored_flags}', *found, *argv[1:]]
        return parse(Config, complete, REFUSED_IN_TRAINING), stored
    return parse(Config, argv, REFUSED_IN_TRAINING), None


def load_config(run_directory: os.PathLike) -> Config:
    """The settings of a run.

    Raises:
        UserError: there is no such run.
    """
    path = pathlib.Path(run_directory) / 'flags.cfg'
    if not path.is_file():
        raise UserError(
            f"'{path}' does not exist; set --checkpoints_dir and --name to a run that cyclegan_tf.train has made."
        )
    try:
        return parse(Config, ['flags.cfg', f'--flagfile={path}'])
    except flags.Error as error:
        raise UserError(f"'{path}' cannot be read ({error}); restore it, or train anew.") from error


def save_config(config: Config, run_directory: os.PathLike) -> None:
    """Writes flags.cfg, which --flagfile reads. It appears whole or not at all."""
    lines = [f'# python -m cyclegan_tf.train --flagfile={pathlib.Path(run_directory) / "flags.cfg"}']
    for name, value in dataclasses.asdict(config).items():
        # What one invocation alone is about is not the run's.
        if name in ('continue_train', 'epoch', 'profile_steps') or value is None:
            continue
        lines.append(f'--{name}={str(value).lower() if isinstance(value, bool) else value}')
    write_whole(pathlib.Path(run_directory) / 'flags.cfg', ('\n'.join(lines) + '\n').encode())

"""Command line to Config: absl flags that bear the settings' names, and what a program does with errors."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, TypeVar

from absl import flags

from cyclegan_tf.config import Config
from cyclegan_tf.errors import UserError
from cyclegan_tf.run_name import fill_in

C = TypeVar('C')  # a dataclass of settings, as config.setting makes them

# Flags of the reference that have no meaning here, with what to use instead.
_TENSORBOARD = 'watch TensorBoard instead: tensorboard --logdir CHECKPOINTS_DIR'
REFUSED = {
    'gpu_ids': 'set the environment variable CUDA_VISIBLE_DEVICES instead',
    'use_wandb': _TENSORBOARD,
    'display_id': _TENSORBOARD,
    'display_server': _TENSORBOARD,
    'display_port': _TENSORBOARD,
    'display_env': _TENSORBOARD,
    'display_ncols': _TENSORBOARD,
    'display_winsize': _TENSORBOARD,
    'update_html_freq': _TENSORBOARD,
    'no_html': _TENSORBOARD,
    'load_iter': 'choose a checkpoint with --epoch instead',
    'save_by_iter': 'set --save_latest_freq, --save_epoch_freq and --keep_checkpoints instead',
}
_TEST = 'cyclegan_tf.translate is for test images'
REFUSED_IN_TRAINING = {
    **REFUSED,
    'phase': 'training always reads trainA and trainB',
    'results_dir': _TEST,
    'num_test': _TEST,
    'aspect_ratio': _TEST,
    'eval': _TEST,
}
_ARCHITECTURE = 'the networks are those of the run that --name names'
_TRAINING = 'it is for cyclegan_tf.train'
_SIZE = 'nothing is cut, and sizes are those of the run unless a flag that --help lists sets others'
_ORDER = 'all images are taken, in order and as they are'
# For programs that use a run; a program's own flags of these names come first.
REFUSED_WITH_A_RUN = {
    **REFUSED,
    'suffix': "write the run's whole name into --name instead",
    'phase': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'results_dir': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'num_test': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'aspect_ratio': 'give cyclegan_tf.translate --resize=WIDTHxHEIGHT instead',
    'eval': 'batch norm always uses its running statistics, and dropout is always off',
    'model': _ARCHITECTURE,
    'input_nc': _ARCHITECTURE,
    'output_nc': _ARCHITECTURE,
    'ngf': _ARCHITECTURE,
    'ndf': _ARCHITECTURE,
    'netD': _ARCHITECTURE,
    'netG': _ARCHITECTURE,
    'n_layers_D': _ARCHITECTURE,
    'norm': _ARCHITECTURE,
    'init_type': _ARCHITECTURE,
    'init_gain': _ARCHITECTURE,
    'no_dropout': _ARCHITECTURE,
    'dataroot': 'an export reads no images',
    'dataset_mode': "the run's own is used",
    'direction': 'both directions are measured',
    'serial_batches': _ORDER,
    'num_threads': 'one thread reads',
    'batch_size': 'the model takes batches of any size',
    'load_size': 'the model takes images of any size',
    'crop_size': _SIZE,
    'max_dataset_size': 'it is for cyclegan_tf.train; translate and evaluate have --num_test',
    'preprocess': f"the run's own is used, but {_SIZE}",
    'no_flip': _ORDER,
    'n_epochs': _TRAINING,
    'n_epochs_decay': _TRAINING,
    'epoch_count': _TRAINING,
    'continue_train': _TRAINING,
    'beta1': _TRAINING,
    'lr': _TRAINING,
    'gan_mode': _TRAINING,
    'pool_size': _TRAINING,
    'lr_policy': _TRAINING,
    'lr_decay_iters': _TRAINING,
    'lambda_A': _TRAINING,
    'lambda_B': _TRAINING,
    'lambda_identity': _TRAINING,
    'print_freq': _TRAINING,
    'display_freq': _TRAINING,
    'save_latest_freq': _TRAINING,
    'save_epoch_freq': _TRAINING,
}


class _RefusingParser(flags.ArgumentParser):
    """Accepts no value at all."""

    def __init__(self, remedy: str):
        super().__init__()
        self._remedy = remedy

    def parse(self, argument):
        raise ValueError(f'this flag of the PyTorch program has no meaning here; {self._remedy}')

    def flag_type(self):
        return 'refused'


def define_flags(config_class: type[C], refused: Mapping[str, str] = REFUSED) -> flags.FlagValues:
    """Flags with the names, defaults and meanings of a dataclass's fields, apart from absl's global FLAGS; and those
    that are refused, unless the dataclass has them, with what to do instead."""
    values = flags.FlagValues()
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        kind = next((k for k in typing.get_args(kind) if k is not type(None)), kind)  # Optional[int] -> int
        meaning, choices = field.metadata['meaning'], field.metadata['choices']
        common = dict(flag_values=values)
        if choices is not None:
            flags.DEFINE_enum(field.name, field.default, choices, meaning, **common)
        else:
            define = {
                bool: flags.DEFINE_boolean,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                str: flags.DEFINE_string,
            }[kind]
            define(field.name, field.default, meaning, **common)
    for name, remedy in refused.items():
        if name in hints:
            continue
        # Declared boolean, so that it is refused whether or not a value follows.
        flag = flags.Flag(
            _RefusingParser(remedy), flags.ArgumentSerializer(), name, None, f'refused: {remedy}', boolean=True
        )
        flags.DEFINE_flag(flag, values)
    flags.DEFINE_boolean('help', False, 'show this', flag_values=values)
    flags.DEFINE_string('flagfile', '', 'read flags from this file, one a line; later flags win', flag_values=values)
    return values


def parse(config_class: type[C], argv: Sequence[str], refused: Mapping[str, str] = REFUSED) -> C:
    """Command line to settings.

    Args:
        config_class: Config, or a program's own such dataclass.
        argv: the program's name and its arguments.
        refused: flags of the reference that the program does not have, with what to do instead.

    Raises:
        flags.Error: a flag that does not exist, is refused or cannot be read.
        UserError: a value out of bounds, or arguments that are no flags.
    """
    values = define_flags(config_class, refused)
    rest = values(list(argv))[1:]
    if values.help:
        program = argv[0] if argv[0].endswith('.py') else f'-m {argv[0]}'
        print(f'usage: python {program} [flags]\n\n{values.get_help()}')
        raise SystemExit(0)
    if rest:
        raise UserError(f"'{rest[0]}' is no flag; flags begin with -- and take their value after =.")
    return config_class(**{field.name: values[field.name].value for field in dataclasses.fields(config_class)})


def parse_training(argv: Sequence[str]) -> tuple[Config, Optional[Config]]:
    """Command line to the settings of a training run; a continued run takes what is not given from its flags.cfg.

    Returns:
        The settings; and those that the run was last trained with, if it is continued and has any.
    """
    # The run's own settings complete a command line that need not be valid without them.
    names = define_flags(Config, REFUSED_IN_TRAINING)
    names(list(argv))
    if names.continue_train and not names.help:
        given = {field.name: names[field.name].value for field in dataclasses.fields(Config)}
        run_directory = pathlib.Path(names.checkpoints_dir) / fill_in(names.name, names.suffix, given)
        stored_flags = run_directory / 'flags.cfg'
        if not stored_flags.is_file():
            raise UserError(
                f"run '{run_directory}' holds no checkpoint to continue from; check --name and --checkpoints_dir, "
                f'or leave out --continue_train.'
            )
        # The place and the name are what found the file, not what is in it.
        found = [f'--{name}={names[name].value}' for name in ('checkpoints_dir', 'name', 'suffix')]
        complete = [argv[0], f'--flagfile={stored_flags}', *found, *argv[1:]]
        return parse(Config, complete, REFUSED_IN_TRAINING), load_config(run_directory)
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
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    lines = [f'# python -m cyclegan_tf.train --flagfile={pathlib.Path(run_directory) / "flags.cfg"}']
    for name, value in dataclasses.asdict(config).items():
        # What one invocation alone is about is not the run's.
        if name in ('continue_train', 'epoch', 'profile_steps') or (value is None and defaults[name] is None):
            continue
        lines.append(f'--{name}={str(value).lower() if isinstance(value, bool) else value}')
    path = pathlib.Path(run_directory) / 'flags.cfg'
    partial = path.with_name('.flags.cfg.part')
    partial.write_text('\n'.join(lines) + '\n')
    partial.replace(path)


def run_program(program: str, parse_argv: Callable[[list[str]], Any], main: Callable[[Any], int]) -> None:
    """Parses, runs and exits: main's status (0: done), 1 with one sentence for what a user can mend, 2 for bad flags.

    Args:
        program: its name, as python -m takes it, or its path.
        parse_argv: argv -> settings.
        main: settings -> exit status.
    """
    argv = [program, *sys.argv[1:]]
    verbose = any(argument in ('--verbose', '-verbose', '--verbose=true') for argument in argv)
    try:
        settings = parse_argv(argv)
    except (flags.Error, UserError) as error:
        _complain(program, error, verbose)
        sys.exit(2)
    try:
        status = main(settings)
    except (UserError, OSError) as error:
        _complain(program, error, verbose)
        status = 1
    except KeyboardInterrupt:
        status = 130  # 128 + SIGINT
    except Exception:  # a fault of ours: all of it is shown
        traceback.print_exc()
        status = 1
    # Python's own end waits for TensorFlow's threads, which takes long, and forever with a stream of images that is
    # still alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _complain(program: str, error: Exception, verbose: bool) -> None:
    if verbose:
        traceback.print_exception(error)
    # Our own messages may be lists, one line for each image; others are made one line.
    message = str(error) if isinstance(error, UserError) else ' '.join(str(error).split())
    print(f'{program}: {message}', file=sys.stderr, flush=True)

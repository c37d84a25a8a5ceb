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

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.models import SETTINGS, owners
from cyclegan_tf.settings.reference_flags import (
    ABSENT_VALUES,
    OF_MODELS,
    REFUSED,
    REFUSED_IN_TRAINING,
)
from cyclegan_tf.settings.run_name import fill_in
from cyclegan_tf.settings.training import Config

C = TypeVar('C')  # a dataclass of settings, as config.setting makes them


class _RefusingParser(flags.ArgumentParser):
    """Accepts no value at all."""

    def __init__(self, remedy: str):
        super().__init__()
        self._remedy = remedy

    def parse(self, argument):
        raise ValueError(f'this flag of the PyTorch program has no meaning here; {self._remedy}')

    def flag_type(self):
        return 'refused'


class _ChoiceParser(flags.EnumParser):
    """Accepts the choices, and tells of values that the PyTorch programs have beside these what to do instead."""

    def __init__(self, choices: Sequence[str], absent: Mapping[str, str]):
        super().__init__(choices)
        self._absent = absent

    def parse(self, argument):
        if argument not in self.enum_values and argument in self._absent:
            raise ValueError(f'{self._absent[argument]}; choose one of: {", ".join(self.enum_values)}')
        return super().parse(argument)


def define_flags(config_class: type[C], refused: Mapping[str, str] = REFUSED) -> flags.FlagValues:
    """Flags with the names, defaults and meanings of a dataclass's fields, apart from absl's global FLAGS; and those
    that are refused, unless the dataclass has them, with what to do instead.

    Config stands for the settings of all models: each field of any model is one flag. The defaults are then those of
    Config, of what only some models have those of the first of them, until read_training_flags has seen the model.
    """
    values = flags.FlagValues()
    of_all = config_class is Config
    of_some = owners() if of_all else {}
    classes = [Config, *SETTINGS.values()] if of_all else [config_class]
    fields: dict[str, list[tuple[dataclasses.Field, Any]]] = {}
    for one in classes:
        hints = typing.get_type_hints(one)
        for field in dataclasses.fields(one):
            fields.setdefault(field.name, []).append((field, hints[field.name]))
    for name, found in fields.items():
        field, kind = found[0]
        # What one model alone forbids its own class refuses.
        choices = dict.fromkeys(choice for other, _ in found for choice in other.metadata['choices'] or ())
        if name == 'model' and issubclass(config_class, Config):
            choices = SETTINGS
        group = f'model {" and ".join(of_some[name])}' if name in of_some else None
        define_flag(values, name, kind, field.default, field.metadata['meaning'], tuple(choices), group)
    for name, remedy in refused.items():
        if name in fields:
            continue
        # Declared boolean, so that it is refused whether or not a value follows.
        flag = flags.Flag(
            _RefusingParser(remedy), flags.ArgumentSerializer(), name, None, f'refused: {remedy}', boolean=True
        )
        flags.DEFINE_flag(flag, values)
    flags.DEFINE_boolean('help', False, 'show this', flag_values=values)
    flags.DEFINE_string('flagfile', '', 'read flags from this file, one a line; later flags win', flag_values=values)
    return values


def define_flag(
    values: flags.FlagValues,
    name: str,
    kind: Any,
    default: Any,
    meaning: str,
    choices: Sequence[str] = (),
    group: Optional[str] = None,
) -> None:
    """Adds a flag.

    Args:
        values: where to.
        name: of the flag.
        kind: bool, int, float, str, or Optional of these.
        default: the value unless given.
        meaning: one sentence for --help.
        choices: the values allowed; empty: all.
        group: the heading in --help; None: that of the flags of every model.
    """
    kind = next((k for k in typing.get_args(kind) if k is not type(None)), kind)  # Optional[int] -> int
    if choices:
        parser = _ChoiceParser(choices, ABSENT_VALUES.get(name, {}))
        flag = flags.Flag(parser, flags.ArgumentSerializer(), name, default, f'<{"|".join(choices)}>: {meaning}')
        flags.DEFINE_flag(flag, values, group)
    else:
        define = {
            bool: flags.DEFINE_boolean,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
        }[kind]
        define(name, default, meaning, flag_values=values, module_name=group)


def read_training_flags(
    values: flags.FlagValues, argv: Sequence[str], of_some: Optional[Mapping[str, Sequence[str]]] = None
) -> type[Config]:
    """Reads a command line into the flags of training, for the model that it names.

    Args:
        values: from define_flags(Config).
        argv: the program's name and its arguments.
        of_some: the flags that not every model has -> the models that have them; unset: model_settings.owners().

    Returns:
        The class of the model's settings, whose fields' flags have their values now.

    Raises:
        flags.Error: a flag that does not exist, is refused, is another model's or cannot be read.
        UserError: arguments that are no flags.
        SystemExit: after --help.
    """
    of_some = owners() if of_some is None else of_some
    rest = values(list(argv))[1:]
    model = values.model
    foreign = [name for name, models in of_some.items() if model not in models]
    for name in foreign:
        if values[name].present:
            other, *more = of_some[name]
            theirs = f'models {" and ".join((other, *more))}' if more else f'model {other}'
            raise flags.Error(f'`{name}` is a flag of {theirs}, not of {model}; leave it out, or set --model={other}.')
    _set_defaults(values)
    _finish(values, argv, rest, hidden=foreign)
    return SETTINGS[model]


def parse(config_class: type[C], argv: Sequence[str], refused: Mapping[str, str] = REFUSED) -> C:
    """Command line to settings.

    Args:
        config_class: Config, which gives the settings of the model that the command line names; or a program's own such
            dataclass.
        argv: the program's name and its arguments.
        refused: flags of the reference that the program does not have, with what to do instead.

    Raises:
        flags.Error: a flag that does not exist, is refused, is another model's or cannot be read.
        UserError: a value out of bounds, or arguments that are no flags.
        SystemExit: after --help.
    """
    values = define_flags(config_class, refused)
    if config_class is Config:
        config_class = read_training_flags(values, argv)
    else:
        _finish(values, argv, values(list(argv))[1:])
    return config_class(**_values_of(config_class, values))


def _finish(values: flags.FlagValues, argv: Sequence[str], rest: Sequence[str], hidden: Sequence[str] = ()) -> None:
    """Prints what --help asks for, without the flags that are hidden, and exits; refuses what is no flag."""
    if values.help:
        # Flags that no model has yet would bury those that there are.
        refused = {name for name in OF_MODELS if name in values and isinstance(values[name].parser, _RefusingParser)}
        for name in {*hidden, *refused}:
            delattr(values, name)
        program = argv[0] if argv[0].endswith('.py') else f'-m {argv[0]}'
        print(f'usage: python {program} [flags]\n\n{values.get_help()}')
        raise SystemExit(0)
    if rest:
        raise UserError(f"'{rest[0]}' is no flag; flags begin with -- and take their value after =.")


def _set_defaults(values: flags.FlagValues) -> None:
    """Gives flags of training that nobody has given the defaults of the model, then those of a mode inside it.

    absl keeps what was given, even where it equals the default, on the command line and in flag files.
    """
    settings = SETTINGS[values.model]
    shared = {field.name: field.default for field in dataclasses.fields(Config)}
    for field in dataclasses.fields(settings):
        if field.name != 'model' and (field.name not in shared or shared[field.name] != field.default):
            values.set_default(field.name, field.default)
    for name, default in settings.mode_defaults(_values_of(settings, values)).items():
        values.set_default(name, default)


def _values_of(config_class: type, values: flags.FlagValues) -> dict[str, Any]:
    return {field.name: values[field.name].value for field in dataclasses.fields(config_class)}


def parse_training(argv: Sequence[str]) -> tuple[Config, Optional[Config]]:
    """Command line to the settings of a training run; a continued run takes what is not given from its flags.cfg.

    Returns:
        The settings; and those that the run was last trained with, if it is continued and has any.
    """
    # The run's own settings complete a command line that need not be valid without them: also its flags may be those of
    # a model that only flags.cfg names.
    names = define_flags(Config, REFUSED_IN_TRAINING)
    names(list(argv))
    if names.continue_train and not names.help:
        _set_defaults(names)
        given = _values_of(SETTINGS[names.model], names)
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

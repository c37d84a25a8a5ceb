"""Command line to settings: absl flags with the names of the settings."""

from __future__ import annotations

import codecs
import dataclasses
import functools
import os
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Optional, TypeVar

from absl import flags

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import GROUPS
from cyclegan_tf.settings.models import SETTINGS, owners
from cyclegan_tf.settings.reference_flags import ABSENT_VALUES, REFUSED
from cyclegan_tf.settings.training import Config

_HELP_FLAGS = ('help', 'helpshort', 'helpfull')

# Headings of --help besides fields.GROUPS and those of the models.
_HELP_GROUP = 'help and flag files'
_REFUSED_GROUP = 'flags of the PyTorch programs that have no meaning here'

C = TypeVar('C')  # a dataclass of settings, whose fields fields.setting makes


class _RefusingParser(flags.ArgumentParser):
    """Refuses every value, with what to do instead."""

    def __init__(self, remedy: str):
        super().__init__()
        self._remedy = remedy

    def parse(self, argument):
        raise ValueError(f'this flag of the PyTorch program has no meaning here; {self._remedy}')

    def flag_type(self):
        return 'refused'


class _TextParser(flags.ArgumentParser):
    """Accepts any text; what begins with ~/ lies in the user's home folder: a shell leaves that in --name=~/folder."""

    def parse(self, argument):
        return os.path.expanduser(argument) if argument.startswith('~/') else argument

    def flag_type(self):
        return 'string'


class _ChoiceParser(flags.EnumParser):
    """Accepts the choices; for other values that the PyTorch programs accept, the error says what to do instead."""

    def __init__(self, choices: Sequence[str], absent: Mapping[str, str]):
        super().__init__(choices)
        self._absent = absent

    def parse(self, argument):
        if argument not in self.enum_values and argument in self._absent:
            raise ValueError(f'{self._absent[argument]}; choose one of: {", ".join(self.enum_values)}')
        return super().parse(argument)


class _Flags(flags.FlagValues):
    """absl's flags, but flag files are UTF-8 whatever the locale, with or without a byte order mark."""

    def __init__(self):
        super().__init__()
        # Another name of a setting -> the setting, and its values where the flag is true or false. absl takes what is
        # set as an attribute for the value of a flag.
        self.__dict__['other_names'] = {}

    def read_flags_from_files(self, argv: Sequence[str], force_gnu: bool = True) -> list[str]:
        """The arguments, with the lines of a file in place of each --flagfile, and behind each other name of a setting
        the setting itself, so that of several the last one counts."""
        return [given for argument in self._expand(list(argv), ()) for given in (argument, *self._meaning(argument))]

    def _meaning(self, argument: str) -> list[str]:
        name, equals, value = argument.lstrip('-').partition('=')
        negated = name.removeprefix('no') if name not in self.other_names else None
        found = self.other_names.get(negated or name) if argument.startswith('-') else None
        if found is None:
            return []
        setting, if_true, if_false = found
        is_true = negated is None and (not equals or value.lower() in ('true', 't', '1', 'y', 'yes'))
        return [f'--{setting}={if_true if is_true else if_false}']

    def _expand(self, arguments: Sequence[str], opened: tuple[str, ...]) -> list[str]:
        expanded, rest = [], iter(arguments)
        for argument in rest:
            name, equals, path = argument.partition('=')
            if argument == '--':
                return [*expanded, argument, *rest]
            if name not in ('--flagfile', '-flagfile'):
                expanded.append(argument)
                continue
            if not equals:
                path = next(rest, None)
                if path is None:
                    raise flags.IllegalFlagValueError('--flagfile has no value; name a file.')
            path = os.path.expanduser(path.strip())
            if path in opened:
                raise flags.CantOpenFlagFileError(f"`flagfile` ('{path}') includes itself.")
            expanded += self._expand(_read_flag_file(path), (*opened, path))
        return expanded


def _read_flag_file(path: str) -> list[str]:
    """The lines of a flag file that hold flags."""
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise flags.CantOpenFlagFileError(f"`flagfile` ('{path}') cannot be read ({error.strerror}).") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b'\0' in data:
        raise flags.CantOpenFlagFileError(f"`flagfile` ('{path}') is no UTF-8 text, but UTF-16; store it as UTF-8.")
    text = data.decode('utf-8-sig', 'surrogateescape')  # paths need not be text
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(('#', '//'))]
    for line in lines:
        flag, _, value = line.partition(' ')
        if value.strip().lower() in ('true', 'false') and '=' not in flag:
            raise flags.IllegalFlagValueError(
                f"`flagfile` ('{path}'): '{line}' is written {flag}={value.strip()} here."
            )
    return lines


def define_flags(config_class: type[C], refused: Mapping[str, str] = REFUSED) -> flags.FlagValues:
    """Defines a flag for each field of a dataclass, with its name, default and meaning, apart from absl's global FLAGS.

    The refused flags are defined as well, unless the dataclass has them: giving one is an error that says what to do
    instead.

    Config stands for the settings of all models: each field of any model becomes one flag. Until read_training_flags
    knows the model, shared fields have the defaults of Config, and the others those of the first model that has them.
    """
    values = _Flags()
    all_models = config_class is Config
    owners_by_flag = owners() if all_models else {}
    classes = [Config, *SETTINGS.values()] if all_models else [config_class]
    fields: dict[str, list[tuple[dataclasses.Field, Any]]] = {}
    for settings_class in classes:
        hints = typing.get_type_hints(settings_class)
        for field in dataclasses.fields(settings_class):
            fields.setdefault(field.name, []).append((field, hints[field.name]))
    for name, definitions in fields.items():
        field, kind = definitions[0]
        # The flag accepts the choices of all models; a model's own class refuses those that only this model forbids.
        choices = dict.fromkeys(choice for other, _ in definitions for choice in other.metadata['choices'] or ())
        if name == 'model' and issubclass(config_class, Config):
            choices = SETTINGS
        group = f'model {" and ".join(owners_by_flag[name])}' if name in owners_by_flag else field.metadata['group']
        define_flag(values, name, kind, field.default, field.metadata['meaning'], group, tuple(choices))
    if all_models:
        for settings_class in classes:
            values.other_names.update(settings_class.other_names)
        for name, (field_name, if_true, _) in values.other_names.items():
            meaning = f'another way to write --{field_name}={if_true}'
            define_flag(values, name, bool, None, meaning, f'model {" and ".join(owners_by_flag[name])}')
    for name, remedy in refused.items():
        if name in values:
            continue
        # Declared boolean, so that it is refused whether or not a value follows.
        flag = flags.Flag(_RefusingParser(remedy), flags.ArgumentSerializer(), name, None, remedy, boolean=True)
        flags.DEFINE_flag(flag, values, _REFUSED_GROUP)
    defined = {'flag_values': values, 'module_name': _HELP_GROUP}
    flags.DEFINE_boolean('help', False, 'show all flags of this program', **defined)
    flags.DEFINE_boolean('helpshort', False, 'show the most used flags', **defined)
    flags.DEFINE_boolean(
        'helpfull',
        False,
        'show all flags, and the refused flags of the PyTorch programs with what to do instead',
        **defined,
    )
    flags.DEFINE_string('flagfile', '', 'file with one flag per line; later flags take precedence', **defined)
    return values


def define_flag(
    values: flags.FlagValues,
    name: str,
    kind: Any,
    default: Any,
    meaning: str,
    group: str = GROUPS[0],
    choices: Sequence[str] = (),
) -> None:
    """Adds a flag.

    Args:
        values: the flags to add it to.
        name: its name.
        kind: bool, int, float, str, or Optional of these.
        default: the value if none is given.
        meaning: what the flag is, for --help.
        group: its heading in --help.
        choices: the allowed values; empty: any.
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
            str: functools.partial(flags.DEFINE, _TextParser(), serializer=flags.ArgumentSerializer()),
        }[kind]
        define(name, default, meaning, flag_values=values, module_name=group)


def read_training_flags(
    values: flags.FlagValues, argv: Sequence[str], owners_by_flag: Optional[Mapping[str, Sequence[str]]] = None
) -> type[Config]:
    """Reads a command line into the flags of training, for the model that the command line names.

    Args:
        values: from define_flags(Config).
        argv: the program's name and its arguments.
        owners_by_flag: the flags that not every model has -> the models that have them; None: models.owners().

    Returns:
        The class of the model's settings. The flags in `values` are then set.

    Raises:
        flags.Error: a flag does not exist, is refused, belongs to another model or cannot be read.
        UserError: an argument is not a flag.
        SystemExit: after --help, --helpshort or --helpfull.
    """
    owners_by_flag = owners() if owners_by_flag is None else owners_by_flag
    rest = values(list(argv))[1:]
    model = values.model
    foreign = [name for name, models in owners_by_flag.items() if model not in models]
    for name in foreign:
        if values[name].present:
            *others, last = owners_by_flag[name]
            owner = f'models {", ".join(others)} and {last}' if others else f'model {last}'
            first = owners_by_flag[name][0]
            raise flags.Error(f'`{name}` is a flag of {owner}, not of {model}; leave it out, or set --model={first}.')
    set_model_defaults(values)
    _finish(values, argv, rest, hidden=foreign)
    return SETTINGS[model]


def parse(config_class: type[C], argv: Sequence[str], refused: Mapping[str, str] = REFUSED) -> C:
    """Command line to settings.

    Args:
        config_class: a program's dataclass of settings. For Config, the result has the class of the model that the
            command line names.
        argv: the program's name and its arguments.
        refused: flags of the reference that the program does not have, with what to do instead.

    Raises:
        flags.Error: a flag does not exist, is refused, belongs to another model or cannot be read.
        UserError: a value is out of bounds, or an argument is not a flag.
        SystemExit: after --help, --helpshort or --helpfull.
    """
    values = define_flags(config_class, refused)
    if config_class is Config:
        config_class = read_training_flags(values, argv)
    else:
        _finish(values, argv, values(list(argv))[1:])
    return config_class(**values_of(config_class, values))


def names_help(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help. Other than for asks_for_help, not all of its arguments need be flags."""
    return any(argument in (f'-{name}', f'--{name}') for argument in argv for name in _HELP_FLAGS)


def asks_for_help(values: flags.FlagValues) -> bool:
    """Whether a flag is set that prints help and does nothing else."""
    return any(values[name].value for name in _HELP_FLAGS)


def help_text(values: flags.FlagValues, hidden: Sequence[str] = ()) -> str:
    """The text of --help, --helpshort or --helpfull: the flags under their headings, without the hidden ones."""
    listed = values.flags_by_module_dict()
    groups = [*GROUPS, *sorted(group for group in listed if group.startswith('model '))]
    shown = GROUPS[:2] if values.helpshort else groups
    shown = [*shown, _HELP_GROUP, *([_REFUSED_GROUP] if values.helpfull else [])]
    flags_by_group = {group: [flag for flag in listed.get(group, ()) if flag.name not in hidden] for group in shown}
    # A group without flags has no heading.
    sections = ([f'{group}:', *map(_describe, members)] for group, members in flags_by_group.items() if members)
    return '\n\n'.join('\n'.join(lines) for lines in sections)


def _finish(values: flags.FlagValues, argv: Sequence[str], rest: Sequence[str], hidden: Sequence[str] = ()) -> None:
    """Prints help if it is asked for, without the hidden flags, and exits; refuses arguments that are not flags."""
    if asks_for_help(values):
        program = argv[0] if '.py' in argv[0] else f'-m {argv[0]}'
        print(f'usage: python {program} [flags]\n\n{help_text(values, hidden)}', flush=True)
        raise SystemExit(0)
    if rest:
        raise UserError(not_a_flag(values, argv, rest[0]))


def not_a_flag(values: flags.FlagValues, argv: Sequence[str], argument: str) -> str:
    """The message for an argument that is no flag, such as the value in CUT's way of writing '--nce_idt False'."""
    before = argv[list(argv).index(argument) - 1].lstrip('-') if argument in argv else ''
    if argument.lower() in ('true', 'false') and before in values and values[before].boolean:
        return f"'{argument}' is not a flag; the value of a flag follows after =, as in --{before}={argument}."
    return f"'{argument}' is not a flag; flags begin with -- and take their value after =."


def _describe(flag: flags.Flag) -> str:
    """One flag as absl's --help shows it. absl's own list would be sorted by name; ours has the most used first."""
    name = f'--[no]{flag.name}' if flag.boolean and not isinstance(flag.parser, _RefusingParser) else f'--{flag.name}'
    default = f"(default: '{flag.default}')" if flag.default is not None else ''
    facts = filter(None, (default.lower() if flag.boolean else default, flag.parser.syntactic_help))
    described = flags.text_wrap(f'{name}: {flag.help}', indent='    ', firstline_indent='  ')
    return '\n'.join([described, *(f'    {fact}' if fact.startswith('(') else f'    ({fact})' for fact in facts)])


def set_model_defaults(values: flags.FlagValues) -> None:
    """Sets the model's defaults for flags of training that were not given, then those of a mode of the model.

    absl keeps what was given on the command line or in a flag file, even if it equals the default.
    """
    settings = SETTINGS[values.model]
    shared = {field.name: field.default for field in dataclasses.fields(Config)}
    for field in dataclasses.fields(settings):
        if field.name != 'model' and (field.name not in shared or shared[field.name] != field.default):
            values.set_default(field.name, field.default)
    for name, default in settings.mode_defaults(values_of(settings, values)).items():
        values.set_default(name, default)


def values_of(config_class: type, values: flags.FlagValues) -> dict[str, Any]:
    """The values of a dataclass's fields, by name."""
    return {field.name: values[field.name].value for field in dataclasses.fields(config_class)}

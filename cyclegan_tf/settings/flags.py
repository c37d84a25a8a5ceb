"""Command line to settings: absl flags that bear their names."""

from __future__ import annotations

import dataclasses
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

# Headings of --help beside fields.GROUPS and the models.
_HELP_GROUP = 'help and flag files'
_REFUSED_GROUP = 'flags of the PyTorch programs that have no meaning here'

C = TypeVar('C')  # a dataclass of settings, as fields.setting makes them


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
        group = f'model {" and ".join(of_some[name])}' if name in of_some else field.metadata['group']
        define_flag(values, name, kind, field.default, field.metadata['meaning'], group, tuple(choices))
    for name, remedy in refused.items():
        if name in fields:
            continue
        # Declared boolean, so that it is refused whether or not a value follows.
        flag = flags.Flag(_RefusingParser(remedy), flags.ArgumentSerializer(), name, None, remedy, boolean=True)
        flags.DEFINE_flag(flag, values, _REFUSED_GROUP)
    defined = {'flag_values': values, 'module_name': _HELP_GROUP}
    flags.DEFINE_boolean('help', False, 'show all flags of this program', **defined)
    flags.DEFINE_boolean('helpshort', False, 'show the most used flags', **defined)
    flags.DEFINE_boolean(
        'helpfull', False, 'show all flags, and those of the PyTorch programs with what to do instead', **defined
    )
    flags.DEFINE_string('flagfile', '', 'file with flags, one a line; later flags take precedence', **defined)
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
        values: where to.
        name: of the flag.
        kind: bool, int, float, str, or Optional of these.
        default: the value unless given.
        meaning: what it is, for --help.
        group: the heading in --help.
        choices: the values allowed; empty: all.
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
        of_some: the flags that not every model has -> the models that have them; unset: models.owners().

    Returns:
        The class of the model's settings, whose fields' flags have their values now.

    Raises:
        flags.Error: a flag that does not exist, is refused, is another model's or cannot be read.
        UserError: arguments that are no flags.
        SystemExit: after --help, --helpshort or --helpfull.
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
    set_model_defaults(values)
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
        SystemExit: after --help, --helpshort or --helpfull.
    """
    values = define_flags(config_class, refused)
    if config_class is Config:
        config_class = read_training_flags(values, argv)
    else:
        _finish(values, argv, values(list(argv))[1:])
    return config_class(**values_of(config_class, values))


def names_help(argv: Sequence[str]) -> bool:
    """Whether a command line that has other words than flags, too, asks for help: see asks_for_help."""
    return any(argument in (f'-{name}', f'--{name}') for argument in argv for name in _HELP_FLAGS)


def asks_for_help(values: flags.FlagValues) -> bool:
    """Whether one of the flags is there that print help and do nothing else."""
    return any(values[name].value for name in _HELP_FLAGS)


def help_text(values: flags.FlagValues, hidden: Sequence[str] = ()) -> str:
    """What --help, --helpshort or --helpfull asks for: the flags under their headings, but those that are hidden."""
    listed = values.flags_by_module_dict()
    groups = [*GROUPS, *sorted(group for group in listed if group.startswith('model '))]
    shown = GROUPS[:2] if values.helpshort else groups
    shown = [*shown, _HELP_GROUP, *([_REFUSED_GROUP] if values.helpfull else [])]
    of_groups = {group: [flag for flag in listed.get(group, ()) if flag.name not in hidden] for group in shown}
    # A group without flags has no heading.
    headed = ([f'{group}:', *map(_describe, found)] for group, found in of_groups.items() if found)
    return '\n\n'.join('\n'.join(lines) for lines in headed)


def _finish(values: flags.FlagValues, argv: Sequence[str], rest: Sequence[str], hidden: Sequence[str] = ()) -> None:
    """Prints help where it is asked for, without the flags that are hidden, and exits; refuses what is no flag."""
    if asks_for_help(values):
        program = argv[0] if '.py' in argv[0] else f'-m {argv[0]}'
        print(f'usage: python {program} [flags]\n\n{help_text(values, hidden)}')
        raise SystemExit(0)
    if rest:
        raise UserError(f"'{rest[0]}' is no flag; flags begin with -- and take their value after =.")


def _describe(flag: flags.Flag) -> str:
    """As absl does it, but for the order, which is that of the settings: the most used come first."""
    name = f'--[no]{flag.name}' if flag.boolean and not isinstance(flag.parser, _RefusingParser) else f'--{flag.name}'
    default = f"(default: '{flag.default}')" if flag.default is not None else ''
    facts = filter(None, (default.lower() if flag.boolean else default, flag.parser.syntactic_help))
    described = flags.text_wrap(f'{name}: {flag.help}', indent='    ', firstline_indent='  ')
    return '\n'.join([described, *(f'    {fact}' if fact.startswith('(') else f'    ({fact})' for fact in facts)])


def set_model_defaults(values: flags.FlagValues) -> None:
    """Gives flags of training that nobody has given the defaults of the model, then those of a mode inside it.

    absl keeps what was given, even where it equals the default, on the command line and in flag files.
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

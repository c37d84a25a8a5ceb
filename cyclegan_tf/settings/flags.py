"""Command line to settings: absl flags that bear their names."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Optional, TypeVar

from absl import flags

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.models import SETTINGS, owners
from cyclegan_tf.settings.reference_flags import ABSENT_VALUES, OF_MODELS, REFUSED
from cyclegan_tf.settings.training import Config

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
        of_some: the flags that not every model has -> the models that have them; unset: models.owners().

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
        SystemExit: after --help.
    """
    values = define_flags(config_class, refused)
    if config_class is Config:
        config_class = read_training_flags(values, argv)
    else:
        _finish(values, argv, values(list(argv))[1:])
    return config_class(**values_of(config_class, values))


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

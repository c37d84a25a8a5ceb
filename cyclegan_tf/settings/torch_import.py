"""The flags of making a run from PyTorch's weights: a file for each network, and those of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.flags import define_flag, define_flags, read_training_flags
from cyclegan_tf.settings.models import SETTINGS, owners
from cyclegan_tf.settings.training import Config, NetworkRole

NO_DATAROOT = 'none (weights from PyTorch)'  # the dataroot in flags.cfg if none is given
KINDS = ('generator', 'discriminator', 'patch_features')  # the kinds of networks whose keys in PyTorch are known


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The parsed command line.

    Attributes:
        settings_class: the class of the model's settings.
        settings: the settings of training by name, with the model's defaults; not validated yet, since what the files
            say comes first.
        given: the names of settings that are on the command line or in a flag file.
        paths: the paths of the files by their networks' names, in the model's order.
    """

    settings_class: type[Config]
    settings: Mapping[str, Any]
    given: frozenset[str]
    paths: Mapping[str, str]


def parse(argv: Sequence[str]) -> Arguments:
    """Command line to the settings of training, and the files.

    Raises:
        flags.Error: a flag does not exist, belongs to another model or cannot be read.
        UserError: no file of a generator is given; or a flag has no meaning here.
    """
    values = define_flags(Config)
    roles: dict[str, dict[str, NetworkRole]] = {}  # flag of a file -> model -> the role of its network
    for model, settings_class in SETTINGS.items():
        for name, role in settings_class.networks.items():
            if role.kind in KINDS:
                roles.setdefault(name.lower(), {})[model] = role
    for flag, of_models in roles.items():
        meanings = dict.fromkeys(file_meaning(flag, role) for role in of_models.values())
        define_flag(values, flag, str, None, '; or '.join(meanings))
    dataroot = values['dataroot']
    dataroot.help = 'images of the run, for its flags.cfg; unset: translation and training then need --dataroot'
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
    """The help text of the flag of a network's file."""
    if role.kind == 'patch_features':
        return f'file with the weights of {flag.upper()}, which makes the features of patches comparable'
    domains = ' and '.join(role.inputs)
    does = f'translates domain {domains} to {role.output}' if role.output else f'judges images of domain {domains}'
    return f'file with the weights of {flag.upper()}, which {does}'

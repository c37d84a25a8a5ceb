"""Makes a run of weights from PyTorch: python tools/import_torch_weights.py --g_a=horse2zebra.pth --name=RUN

It reads what the PyTorch program of CycleGAN saves, and what its authors published, in both of PyTorch's file formats.
The architecture comes from the file; only dropout in U-Nets leaves no trace there (--no_dropout=false). The run is one
that has not done a step yet: translate it, or go on with cyclegan_tf.train --continue_train. All flags of training are
taken too, for that: they come to the run's flags.cfg. Networks without a file get weights as for a new training. Which
files there can be follows from --model.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings.flags import define_flag, define_flags, read_training_flags  # noqa: E402
from cyclegan_tf.settings.models import SETTINGS, owners  # noqa: E402
from cyclegan_tf.settings.training import Config, NetworkRole  # noqa: E402

NO_DATAROOT = 'none (weights from PyTorch)'  # what flags.cfg says of images that nobody has named
KINDS = ('generator', 'discriminator')  # of networks whose keys in PyTorch are known


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


def parse(argv: Sequence[str]) -> Arguments:
    """Command line to settings of training, and the files.

    Raises:
        flags.Error: a flag that does not exist, is another model's or cannot be read.
        UserError: no file of a generator is named; a flag has no meaning here.
    """
    values = define_flags(Config)
    roles: dict[str, dict[str, NetworkRole]] = {}  # flag of a file -> model -> what its network is for
    for model, settings_class in SETTINGS.items():
        for name, role in settings_class.networks.items():
            if role.kind in KINDS:
                roles.setdefault(name.lower(), {})[model] = role
    for flag, of_models in roles.items():
        meanings = dict.fromkeys(file_meaning(flag, role) for role in of_models.values())
        define_flag(values, flag, str, None, '; or '.join(meanings))
    dataroot = values['dataroot']
    dataroot.help = 'images of the run, for its flags.cfg; unset: translating and training then need --dataroot'
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
    does = f'translates domain {domains} to {role.output}' if role.output else f'judges images of domain {domains}'
    return f'file with the weights of {flag.upper()}, which {does}'


def main(arguments: Arguments) -> int:
    """Reads, checks and writes; returns the exit status.

    Raises:
        UserError: PyTorch is missing; a file cannot be read or does not fit, in which case the message lists every
            key; flags and files contradict each other; the run exists. Nothing is written then.
    """
    # TensorFlow takes seconds to import, which --help and wrong flags do not wait for.
    import torch_import

    torch_import.make_run(arguments)
    return 0


if __name__ == '__main__':
    run_program('tools/import_torch_weights.py', parse, main)

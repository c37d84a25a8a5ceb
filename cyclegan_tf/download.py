"""Downloads published weights or data: python -m cyclegan_tf.download weights|data|list [NAME] [flags]

`weights NAME` makes a run of a published generator, which then translates; `data NAME` makes a folder of a published
data set, to train on; `list` shows all names. --help after the word lists its flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

from cyclegan_tf.downloads import catalogue
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import importing
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.settings import flags
from cyclegan_tf.settings.download import DataConfig, ListConfig, WeightsConfig

WORDS = {'weights': WeightsConfig, 'data': DataConfig, 'list': ListConfig}

Parsed = tuple[str, Optional[str], Union[WeightsConfig, DataConfig, ListConfig]]


def parse(argv: Sequence[str]) -> Parsed:
    """Command line to the word, the name behind it (None: there is none, as after `list`), and the settings.

    Raises:
        flags.Error, UserError: the word or the name does not exist, or does not accept the settings.
        SystemExit: after --help, --helpshort or --helpfull; without a word they list the words.
    """
    program, *arguments = argv
    words = [argument for argument in arguments if not argument.startswith('-')]
    if not words and flags.names_help(argv):
        print(f'usage: python -m {program} {"|".join(WORDS)} [NAME] [flags]\n\n{__doc__}', flush=True)
        raise SystemExit(0)
    if not words or words[0] not in WORDS:
        raise UserError(
            f"'{words[0] if words else ''}' is not one of: {', '.join(WORDS)}; python -m {program} list shows what "
            f'there is.'
        )
    word, *names = words
    right = not names if word == 'list' else len(names) == 1
    if not right and not flags.names_help(argv):
        raise UserError(
            f'{word} ({", ".join(names) or "none"}) {"takes no" if word == "list" else "has to be one"} name, and '
            f'flags take their value after =; python -m {program} list shows all names.'
        )
    for argument in arguments:
        if word == 'data' and argument.lstrip('-').partition('=')[0] == 'name':
            raise UserError(f"'{argument}' is for weights; set --output to the folder for the data set.")
    usage = f'{program} {word}' + ('' if word == 'list' else ' NAME')
    settings = flags.parse(WORDS[word], [usage, *(argument for argument in arguments if argument.startswith('-'))], {})
    if word == 'list':
        return word, None, settings
    catalogue.find(word, names[0])
    if word == 'data':
        _check_own_copy(names[0], settings)
    return word, names[0], settings


def _check_own_copy(name: str, settings: DataConfig) -> None:
    """Raises UserError if the folders of a data set that cannot be downloaded are missing, or are given for others."""
    given = {'gtFine_dir': settings.gtFine_dir, 'leftImg8bit_dir': settings.leftImg8bit_dir}
    if catalogue.DATA[name].path is not None:
        for flag, value in given.items():
            if value is not None:
                raise UserError(f"`{flag}` ('{value}') is for cityscapes and pix2pix_cityscapes; leave it out.")
    elif None in given.values():
        raise UserError(
            f"data '{name}' may not be handed on by its authors; get leftImg8bit_trainvaltest.zip and "
            f'gtFine_trainvaltest.zip from https://cityscapes-dataset.com, unpack them, and set --leftImg8bit_dir and '
            f'--gtFine_dir to the folders.'
        )


def main(parsed: Parsed) -> int:
    """Downloads, or lists; returns the exit status.

    Raises:
        UserError: a package is missing; the file cannot be downloaded, or is another than was expected; the run or the
            folder exists already. No run and no folder is left behind then.
    """
    word, name, settings = parsed
    if word == 'list':
        print(catalogue.table())
        return 0
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    if word == 'weights':
        with importing.tensorflow():
            from cyclegan_tf.downloads import weights

        weights.download(name, settings)
    else:
        from cyclegan_tf.downloads import data

        data.download(name, settings)
    return 0


if __name__ == '__main__':
    run_program('cyclegan_tf.download', parse, main)

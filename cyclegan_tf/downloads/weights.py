"""Makes a run of a published generator: downloads its file, and imports it."""

from __future__ import annotations

import pathlib
import shlex

from cyclegan_tf.downloads import catalogue, unpack
from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runs import checkpoints, torch_files
from cyclegan_tf.runtime import fetch
from cyclegan_tf.runtime.files import make_folder
from cyclegan_tf.settings import torch_import as import_flags
from cyclegan_tf.settings.download import WeightsConfig
from cyclegan_tf.training import torch_import

_FILE = 'latest_net_G.pth'  # of a generator in the folder of a run of the PyTorch programs
_DEFAULT_PLACE = WeightsConfig.__dataclass_fields__['checkpoints_dir'].default


def download(name: str, settings: WeightsConfig) -> None:
    """Makes the run, and prints how to translate with it.

    Args:
        name: one of catalogue.WEIGHTS.
        settings: where the file comes from, and the run.

    Raises:
        UserError: PyTorch or pooch is missing, or the run exists, all of which is found before the download; the file
            cannot be downloaded, or holds no such weights.
    """
    torch_files.import_torch()
    entry, run = catalogue.WEIGHTS[name], settings.name or name
    run_directory = pathlib.Path(settings.checkpoints_dir) / run
    try:
        exists = any(checkpoints.scan(run_directory))
    except OSError as error:
        raise UserError(f"`name` ('{run}') cannot be a folder's ({error.strerror}); set it to another.") from error
    if exists:
        raise UserError(f"run '{run_directory}' holds a checkpoint, which is never overwritten; set another --name.")
    make_folder('checkpoints_dir', settings.checkpoints_dir, pathlib.Path(settings.checkpoints_dir))
    fetched = fetch.fetch(entry.path, settings.mirror or catalogue.MIRROR, settings.cache_dir, settings.retries)
    try:
        if entry.member is None:
            _import(fetched.path, entry, run, settings)
        else:
            _import(_unpack(fetched, entry.member), entry, run, settings)
    except (_WrongFile, unpack.ArchiveError) as error:
        fetched.forget()
        raise UserError(
            f'{fetched.address} gives a file that cannot be used ({error}), so it was deleted from the cache; start '
            f'again, or set another --mirror.'
        ) from error
    place = [f'--checkpoints_dir={settings.checkpoints_dir}'] if settings.checkpoints_dir != _DEFAULT_PLACE else []
    flags = shlex.join([f'--name={run}', *place])
    print(f'Translate with: python -m cyclegan_tf.translate {flags} --input=IMAGES')


class _WrongFile(Exception):
    """A downloaded file without the weights that it should have; the message is the reason."""


def _import(path: pathlib.Path, entry: catalogue.Weights, run: str, settings: WeightsConfig) -> None:
    """Makes the run of a file with a generator.

    Raises:
        _WrongFile: it holds something else.
        UserError: the run cannot be written.
    """
    try:
        torch_files.read_state(str(path), f"'{path.name}'")
    except UserError as error:
        raise _WrongFile(str(error).partition(';')[0]) from error
    flags = (f'--checkpoints_dir={settings.checkpoints_dir}', f'--name={run}', f'--{entry.file_flag}={path}')
    try:
        torch_import.make_run(import_flags.parse(['weights', *flags, *entry.flags]))
    except UserError as error:
        if error.__cause__ is not None:  # the run's directory
            raise
        raise _WrongFile(first_line(error).partition(';')[0]) from error


def _unpack(fetched: fetch.Fetched, member: str) -> pathlib.Path:
    """Unpacks the file of a run's generator from an archive of several runs; returns its path, beside the archive.

    Raises:
        _WrongFile: the archive has no such run.
        unpack.ArchiveError: see there.
    """
    names, path = [], fetched.path.parent / member / _FILE

    def wanted(name):
        *folders, file = name.split('/')
        names.extend(folders[-1:] if file == _FILE else [])
        return file == _FILE and folders[-1:] == [member]

    with unpack.new_folder(path.parent) as folder:
        unpack.unpack(fetched.path, folder, wanted)
        found = list(folder.rglob(_FILE))
        if len(found) != 1:
            raise _WrongFile(f"it has no '{member}/{_FILE}', but of: {', '.join(sorted(names)) or 'none'}")
        path.parent.mkdir(exist_ok=True)
        found[0].replace(path)
    return path

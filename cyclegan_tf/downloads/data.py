"""Makes a folder of a published data set, to train on: from TensorFlow Datasets, or from the authors' archive."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
from collections.abc import Iterable, Mapping
from typing import Optional

from cyclegan_tf.data import inspection, records, training_data
from cyclegan_tf.data.folders import find_images
from cyclegan_tf.downloads import catalogue, cityscapes, unpack
from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime import fetch
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.settings import run_flags
from cyclegan_tf.settings.download import DataConfig
from cyclegan_tf.settings.training import Config

_MARK = '.download.json'  # in the folder: which data set it is, and how many images its parts have
_PNG = b'\x89PNG'


class _WrongSet(Exception):
    """A data set without the images that it should have; the message is the reason."""


def download(name: str, settings: DataConfig) -> None:
    """Makes the folder, checks every image, and prints how to train on them. A complete folder is left as it is.

    Args:
        name: one of catalogue.DATA.
        settings: where the images come from, and the folder.

    Raises:
        UserError: the folder holds something else; the data set cannot be downloaded; its archive is damaged, or holds
            what is not unpacked; or it lacks images. Nothing is left behind then. Or images cannot be used: then the
            folder is left.
    """
    entry = catalogue.DATA[name]
    given = settings.output or f'datasets/{name}'
    shown = pathlib.Path(os.path.expanduser(given))
    folder = pathlib.Path(os.path.realpath(shown))  # what appears beside it is renamed to it, so it needs a name
    counts = _present(folder, name, given)
    if counts is None:
        if folder == pathlib.Path.cwd():
            raise UserError(
                f"`output` ('{given}') is the current folder, which cannot be replaced; set it to a folder in it, or "
                f'start from another.'
            )
        make_folder('output', given, folder.parent)
        if entry.path is None:
            counts = _make(name, folder, given, None, settings)
        elif settings.source == 'tfds' or (settings.source is None and settings.mirror is None and entry.tfds):
            if entry.tfds is None:
                raise UserError(f"`source` (tfds) does not have '{name}'; leave it out.")
            counts = _make(name, folder, given, None, settings)
        else:
            mirror = settings.mirror or catalogue.MIRROR
            archive = fetch.fetch(entry.path, mirror, settings.cache_dir, settings.retries)
            counts = _make(name, folder, given, archive, settings)
            # Another process may have deleted it, which makes another folder of it.
            archive.path.unlink(missing_ok=True)  # the images are in the folder; its checksum is still remembered
    else:
        print(f"'{shown}' is the complete data set {name} already.")
    print(', '.join(f'{part}: {count(number, "image")}' for part, number in counts.items()), flush=True)
    flags = [*entry.flags, f'--dataroot={shown}', f'--name={name}']
    _check(run_flags.parse_training(['train', *flags])[0], entry)
    print(f'Train with: python -m cyclegan_tf.train {shlex.join(flags)}')


def _present(folder: pathlib.Path, name: str, given: str) -> Optional[Mapping[str, int]]:
    """The numbers of images if the folder is this data set and complete; None if there is no folder.

    Raises:
        UserError: the folder is anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        mark = json.loads((folder / _MARK).read_text(encoding='utf-8'))
        if mark['name'] == name and mark['images'] == _count(folder, mark['images']):
            return mark['images']
    except (OSError, ValueError, LookupError, TypeError):
        pass  # not made by this program
    raise UserError(f"`output` ('{given}') is there and is not the complete data set {name}; set it to another folder.")


def _make(name: str, folder: pathlib.Path, given: str, archive: Optional[fetch.Fetched], settings: DataConfig):
    """Makes the folder, which appears at once with all of its images; returns the numbers of images of its parts.

    Args:
        name, folder: the data set, and what becomes it.
        given: value of --output, for messages.
        archive: its archive; None: it is made of another source.
        settings: those of the program.
    """
    entry = catalogue.DATA[name]
    try:
        with unpack.new_folder(folder) as partial:
            made = partial / 'made'
            made.mkdir()
            if archive is not None:
                unpack.unpack(archive.path, made)
            elif entry.path is None:
                aligned = entry.parts[0] == 'train'
                cityscapes.prepare(made, settings.gtFine_dir, settings.leftImg8bit_dir, aligned)
            else:
                _write_examples(entry, made, settings)
            root = _root(made, entry)
            counts = _count(root, [*entry.parts, *(part for part in entry.one_of if (root / part).is_dir())])
            empty = [part for part, number in counts.items() if not number]
            if empty:
                raise _WrongSet(f'it has no images in {", ".join(empty)}')
            write_json(root / _MARK, {'name': name, 'images': counts})
            if folder.exists():
                folder.rmdir()  # an empty one
            root.rename(folder)
            return counts
    except (unpack.ArchiveError, _WrongSet) as error:
        if archive is None:
            raise UserError(f"'{name}' cannot be used ({error}); set another --source.") from error
        archive.forget()
        raise UserError(
            f'{archive.address} gives an archive that is not unpacked ({error}), so it was deleted from the cache; '
            f'start again, or set another --mirror.'
        ) from error
    except OSError as error:
        raise UserError(
            f"`output` ('{given}') cannot be written ({error.strerror or error}); make room, or set it to another "
            f'folder.'
        ) from error


def _root(folder: pathlib.Path, entry: catalogue.DataSet) -> pathlib.Path:
    """The folder with all parts of the data set, in which archives have one folder around them.

    Raises:
        _WrongSet: there is none, or several.
    """
    candidates = [folder, *(path for path in sorted(folder.glob('*')) if path.is_dir())]
    found = [
        path
        for path in candidates
        if all((path / part).is_dir() for part in entry.parts)
        and (not entry.one_of or any((path / part).is_dir() for part in entry.one_of))
    ]
    if len(found) != 1:
        others = f' and one of {", ".join(entry.one_of)}' if entry.one_of else ''
        raise _WrongSet(f'it has no folder with {", ".join(entry.parts)}{others}')
    return found[0]


def _count(root: pathlib.Path, parts: Iterable[str]) -> dict[str, int]:
    return {part: len(find_images(str(root / part)).paths) for part in parts}


def _write_examples(entry: catalogue.DataSet, folder: pathlib.Path, settings: DataConfig) -> None:
    """Writes the images of a set of TensorFlow Datasets as files, with the bytes that they have there."""
    try:
        data_set = records.open_dataset(entry.tfds, settings.data_dir and os.path.expanduser(settings.data_dir))
    except UserError as error:
        raise UserError(
            f"'tfds:{entry.tfds}' could not be opened ({first_line(error.__cause__ or error)}); check the connection "
            f'and --data_dir, or take the archive with --source=archive.'
        ) from error
    for part in entry.parts:
        source = data_set.open(part)
        (folder / part).mkdir()
        for index in progress_bar(range(len(source)), f'Writing {part}'):
            data = source.read(index)
            ending = 'png' if data.startswith(_PNG) else 'jpg'
            (folder / part / f'{source.names[index]}.{ending}').write_bytes(data)


def _check(config: Config, entry: catalogue.DataSet) -> None:
    """Checks every image as training does, which remembers what was found, and prints what there is.

    Raises:
        UserError: images cannot be used; the message lists all of them.
    """
    cache_dir = inspection.choose_cache_dir(None, print)
    lines, total = [], 0
    for phase in ('train', 'test'):
        if phase == 'test' and not entry.one_of and not any(part.startswith(phase) for part in entry.parts):
            continue
        opened = training_data.open_sources(config, phase, None)
        parts = {phase: opened[0]} if opened[0].half else dict(zip([phase + name for name in config.domains], opened))
        for part, source in parts.items():
            findings = inspection.inspect(source, config.num_threads, cache_dir)
            print(f'  {part:7} {inspection.describe(findings)}', flush=True)
            lines += inspection.bad_images(source, findings)
            total += len(source)
    inspection.refuse(lines, total)

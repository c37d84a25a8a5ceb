"""Opens images by name: those of folders and files, of data sets of TensorFlow Datasets, of the demo."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Optional

import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode, demo, records
from cyclegan_tf.data.folders import find_images
from cyclegan_tf.data.image_source import Source, stamp_file
from cyclegan_tf.data.names import unique_names
from cyclegan_tf.data.pairs import match
from cyclegan_tf.data.pictures import ReadOptions
from cyclegan_tf.data.stacked import stack
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import storage

DATASET_MODES = ('unaligned', 'aligned', 'paired', 'single')

# What stands in for the test images of a data set that has none.
_INSTEAD_OF_TEST = ('val', 'validation')


@dataclasses.dataclass(frozen=True)
class Pairing:
    """How the images of pairs are found, besides the names of folders.

    Attributes:
        inputs: a domain -> the folders whose images are stacked as its channels, without the phase, and the number of
            channels of each: {'A': (('A', 3), ('A2', 1))}; a domain that is not named has one folder.
        features: of data sets whose examples hold both images, the features of A and of B; None: they are not known.
    """

    inputs: Mapping[str, Sequence[tuple[str, int]]] = dataclasses.field(default_factory=dict)
    features: Optional[tuple[str, str]] = None


def open_domains(
    dataroot: str,
    phase: str,
    dataset_mode: str = 'unaligned',
    max_size: Optional[int] = None,
    data_dir: Optional[str] = None,
    options: Sequence[ReadOptions] = (),
    pairing: Pairing = Pairing(),
) -> tuple[Source, ...]:
    """The images of the data set's domains, in the order A, B.

    Args:
        dataroot: 'demo'; 'tfds:NAME', a data set of TensorFlow Datasets; a directory with a prepared data set; or a
            folder with trainA, trainB, testA and testB (unaligned, paired), train and test (aligned), or the images
            themselves (single). Folders may be anywhere that tf.io.gfile reaches.
        phase: 'train', 'val' or 'test'. Where there are no test images, those of 'val' are taken.
        dataset_mode: 'unaligned'; 'aligned': each image shows A in its left half and B in its right, or each example of
            a data set holds both; 'paired': images of the same name are pairs, and images without a counterpart are
            left out; 'single': only one domain.
        max_size: maximum number of images of each domain, or of pairs, the first ones after sorting; None: all.
        data_dir: the folder of prepared data sets; None: the default of TensorFlow Datasets.
        options: how the files of each source are read; empty: with the default options.
        pairing: for 'aligned' and 'paired'.

    Returns:
        Two sources, or one for 'single'. Those of pairs have the images of a pair at the same index.

    Raises:
        UserError: a folder or split is missing, or holds no images; or there are no pairs.
    """
    options = options or [decode.PLAIN, decode.PLAIN]
    names = {'unaligned': 'AB', 'aligned': ['']}.get(dataset_mode, ())
    if dataset_mode == 'paired':
        names = [name for domain in 'AB' for name, _ in pairing.inputs.get(domain, ((domain, None),))]
    asked, phase = phase, _existing_phase(dataroot, phase, names, data_dir)
    if dataset_mode in ('aligned', 'paired'):
        opened = _open_pairs(dataroot, phase, dataset_mode, data_dir, options, pairing)
    else:
        parts = {'unaligned': [f'{phase}A', f'{phase}B'], 'single': ['']}[dataset_mode]
        opened = [_open_part(dataroot, part, data_dir, of_part) for part, of_part in zip(parts, options)]
    if max_size is not None:
        opened = [source.select(range(min(max_size, len(source)))) for source in opened]
    if phase != asked:
        note = f"'{dataroot}' has no {asked}; {phase} is used in its place."
        opened[0] = dataclasses.replace(opened[0], notes=[*opened[0].notes, note])
    return tuple(opened)


def _existing_phase(dataroot: str, phase: str, names: Sequence[str], data_dir: Optional[str]) -> str:
    """The phase; or for 'test', if there are no test images at all, another one that has all folders or splits.

    Args:
        dataroot, data_dir: as for open_domains.
        phase: 'train', 'val' or 'test'.
        names: of its folders or splits, without the phase; for pairs of which examples hold both, none may exist.
    """
    if phase != 'test' or dataroot == 'demo' or not names:
        return phase
    for other in (phase, *_INSTEAD_OF_TEST):
        found = [_exists(dataroot, f'{other}{name}', data_dir) for name in names]
        # One folder of the test images is enough: the message then says which others are missing.
        enough = any if other == phase else all
        if enough(found) or _exists(dataroot, other, data_dir, only_records=True):
            return other
    return phase


def _exists(dataroot: str, part: str, data_dir: Optional[str], only_records: bool = False) -> bool:
    """Whether there is a folder, or a split of a data set, of this name."""
    opened = _open_records(dataroot, data_dir, part)
    if opened is not None:
        return part in opened.splits
    return not only_records and tf.io.gfile.isdir(os.path.join(os.path.expanduser(dataroot), part))


def _open_pairs(
    dataroot: str,
    phase: str,
    dataset_mode: str,
    data_dir: Optional[str],
    options: Sequence[ReadOptions],
    pairing: Pairing,
) -> list[Source]:
    """The sources of A and B whose images of the same index are pairs."""
    if dataroot == 'demo' and (pairing.inputs or pairing.features):
        raise UserError('`input_folders` and `input_feature` cannot be used with `dataroot` (demo); leave them out.')
    if dataroot == 'demo':
        named = 'the demo has both images of each'
        return [
            dataclasses.replace(_open_part(dataroot, f'{phase}{domain}', None, of_domain, paired=True), pairing=named)
            for domain, of_domain in zip('AB', options)
        ]
    data_set = _open_records(dataroot, data_dir, phase if dataset_mode == 'aligned' else f'{phase}A')
    if pairing.features and (data_set is None or pairing.inputs):
        raise UserError(
            f"`input_feature` ('{pairing.features[0]}' or '{pairing.features[1]}') is of data sets of TensorFlow "
            f"Datasets and cannot be used with `input_folders` or with folders as `dataroot` ('{dataroot}'); leave it "
            f'and output_feature out.'
        )
    if data_set is not None:
        split = phase if phase in data_set.splits else None
        both = pairing.features or len(data_set.image_features) > 1
        of_names = dataset_mode == 'paired' and f'{phase}A' in data_set.splits
        if split is None and not (of_names and data_set.has_names):
            raise UserError(
                f"`dataroot` ('{dataroot}') holds no pairs: it has the splits {', '.join(sorted(data_set.splits))}, "
                f'but none named {phase} whose examples hold both images'
                f'{", and its images have no names to match them by" if of_names else ""}; choose another data set, or '
                f'a model that learns without pairs, such as cycle_gan.'
            )
        if split is not None and both:
            if pairing.features is None:
                raise UserError(
                    f"`dataroot` ('{dataroot}') has the image features {', '.join(data_set.image_features)}; say which "
                    f'is which with --input_feature and --output_feature.'
                )
            named = 'each example holds both'
            return [
                dataclasses.replace(data_set.open(split, feature), options=of_domain, pairing=named)
                for feature, of_domain in zip(pairing.features, options)
            ]
    if dataset_mode == 'aligned':
        return _open_halves(dataroot, phase, data_dir, options)
    parts = {domain: pairing.inputs.get(domain, ((domain, None),)) for domain in 'AB'}
    opened, counts = [], {domain: [count for _, count in of_domain] for domain, of_domain in parts.items()}
    for of_domain, domain in zip(options, 'AB'):
        for name, count in parts[domain]:
            of_part = of_domain if count is None else dataclasses.replace(of_domain, channels=(count,))
            opened.append(_open_part(dataroot, f'{phase}{name}', data_dir, of_part))
    opened = match(opened, 'dataroot', dataroot, 'they have the same name, and dataset_mode is paired')
    of_a = len(parts['A'])
    return [stack(opened[:of_a], counts['A']), stack(opened[of_a:], counts['B'])]


def _open_halves(dataroot: str, phase: str, data_dir: Optional[str], options: Sequence[ReadOptions]) -> list[Source]:
    """A and B in the halves of the same images."""
    channels = tuple(dict.fromkeys(count for of_half in options for count in of_half.channels))
    of_halves = [dataclasses.replace(of_half, channels=channels) for of_half in options]
    shared = _remember_last(_open_part(dataroot, phase, data_dir, of_halves[0]))
    a, b = (
        dataclasses.replace(shared, half=half, options=of_half, pairing='they are the halves of one image')
        for half, of_half in zip(('left', 'right'), of_halves)
    )
    return [a, dataclasses.replace(b, notes=())]  # they are about the same files


def _open_part(dataroot: str, part: str, data_dir: Optional[str], options: ReadOptions, paired: bool = False) -> Source:
    """The images of one folder or split, such as 'trainA'; `paired`: see demo.regions."""
    if dataroot == 'demo':
        if part not in ('trainA', 'trainB', 'testA', 'testB'):
            what = '`phase` (val)' if part else '`dataset_mode` (single)'
            raise UserError(f'{what} cannot be used with `dataroot` (demo), which has no such images; leave it out.')
        return dataclasses.replace(demo_source(part, paired), options=options)
    if dataroot.startswith('tfds:') and not part:
        raise UserError(
            f"`dataset_mode` (single) takes a folder of images, not `dataroot` ('{dataroot}'); set dataroot to one."
        )
    data_set = _open_records(dataroot, data_dir, part)
    if data_set is not None:
        return dataclasses.replace(data_set.open(part), options=options)
    root = os.path.expanduser(dataroot)
    if not tf.io.gfile.isdir(root):
        raise UserError(
            f"`dataroot` ('{dataroot}') is not a folder; set it to one that holds {part or 'images'}, to tfds:NAME or "
            f'to demo.'
        )
    return dataclasses.replace(_folder_source(root, part, options.raw), options=options)


def _open_records(dataroot: str, data_dir: Optional[str], part: str) -> Optional[records.DataSet]:
    """The data set of TensorFlow Datasets that dataroot names or holds; None if it is no such, or has this part as a
    folder."""
    if dataroot.startswith('tfds:'):
        data_dir = None if data_dir is None else os.path.expanduser(data_dir)
        return records.open_dataset(dataroot.removeprefix('tfds:'), data_dir)
    root = os.path.expanduser(dataroot)
    if not tf.io.gfile.isdir(root) or not part or tf.io.gfile.isdir(os.path.join(root, part)):
        return None
    prepared = records.find_directory(root)
    return None if prepared is None else records.open_directory(prepared)


def _folder_source(root: str, part: str, arrays: bool) -> Source:
    """The images of a folder and its subfolders; `arrays`: with the files of arrays among them."""
    folder = os.path.join(root, part) if part else root
    if not tf.io.gfile.isdir(folder):
        folders = sorted(name.rstrip('/') for name in tf.io.gfile.listdir(root))
        folders = [name for name in folders if tf.io.gfile.isdir(os.path.join(root, name))]
        other = ', or set --dataset_mode=paired' if {f'{part}A', f'{part}B'} <= set(folders) else ''
        raise UserError(
            f"`dataroot` ('{root}') has no folder {part} (folders in it: {', '.join(folders) or 'none'}); put the "
            f'images there{other}.'
        )
    listing = find_images(folder, arrays)
    if not listing.paths:
        endings = ' '.join(ending[1:] for ending in decode.EXTENSIONS + decode.ARRAY_EXTENSIONS * arrays)
        beside = f' ({listing.passed_over})' if listing.passed_over else ''
        endings += '' if arrays else ' (npy only with --value_range)'
        raise UserError(f"'{folder}' holds no images{beside}; put files there that end in one of: {endings}.")
    source = of_files(listing.paths, folder)
    notes = [f"Passed over in '{folder}': {listing.passed_over}."] if listing.passed_over else []
    return dataclasses.replace(source, notes=notes)


def open_stacked_files(places: Sequence[str], options: ReadOptions, channels: Sequence[int]) -> Source:
    """Opens several places as open_files does, and stacks their images of the same name as channels.

    Args:
        places: for each part of an image a file, folder or pattern; single files need no common name.
        options: how the files are read.
        channels: number of channels of each part.

    Raises:
        UserError: as open_files; or no name is in all places.
    """
    opened = [
        open_files(place, dataclasses.replace(options, channels=(count,))) for place, count in zip(places, channels)
    ]
    if not all(len(source) == 1 for source in opened):
        opened = match(opened, 'input', ','.join(places), '')
    return stack(opened, channels)


def open_files(place: str, options: ReadOptions = decode.PLAIN, argument: str = 'input') -> Source:
    """Opens one image, a folder of images with its subfolders, or the images that match a pattern with *, ? or [].

    Args:
        place: the file, folder or pattern.
        options: how the files are read.
        argument: name of the argument that names the place, for messages.

    Raises:
        UserError: the file does not exist, or no file matches.
    """
    return dataclasses.replace(_open_files(os.path.expanduser(place), options.raw, argument), options=options)


def _open_files(place: str, arrays: bool, argument: str) -> Source:
    if tf.io.gfile.isdir(place):
        return _folder_source(place, '', arrays)
    if tf.io.gfile.exists(place):
        return of_files([place], os.path.dirname(place))
    if '://' in place:
        paths = sorted(path for path in tf.io.gfile.glob(place) if not tf.io.gfile.isdir(path))
        folder = ''
    else:
        paths, folder = storage.glob(argument, place)
    if not paths:
        raise UserError(
            f"`{argument}` ('{place}') is not a file or folder, and matches no file as a pattern; correct it."
        )
    return of_files(paths, folder)


def of_files(paths: Sequence[str], folder: str, options: ReadOptions = decode.PLAIN) -> Source:
    """The images of these files, which need not exist, in this order.

    Args:
        paths: the files; also URLs.
        folder: to which names are relative; for messages, too.
        options: how the files are read.
    """
    return Source(
        count=len(paths),
        where=folder or '.',
        label=lambda index: paths[index],
        data=lambda index: _read(paths[index]),
        stamp=lambda index: stamp_file(paths[index]),
        path=lambda index: None if '://' in paths[index] else paths[index],
        list_names=lambda: unique_names([os.path.relpath(path, folder or '.') for path in paths]),
        options=options,
    )


def _read(path: str) -> bytes:
    # Local files by Python, which also reads names that are no text in the locale's encoding.
    with tf.io.gfile.GFile(path, 'rb') if '://' in path else open(path, 'rb') as file:
        return file.read()


def demo_source(part: str, paired: bool = False) -> Source:
    """A part of the demo's data set, 'trainA', ..., as PNGs in memory; `paired`: see demo.regions."""
    pictures = demo.regions(part[:-1], part[-1], paired)
    names, encoded = list(pictures), []
    for pixels in pictures.values():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, 'PNG', compress_level=1)
        encoded.append(file.getvalue())
    return Source(
        count=len(names),
        where=f'demo {part}',
        label=lambda index: f'demo {part} {names[index]}',
        data=encoded.__getitem__,
        stamp=lambda index: hashlib.sha256(encoded[index]).hexdigest(),
        list_names=lambda: names,
    )


def _remember_last(source: Source) -> Source:
    """The source, whose threads each keep their last decoded image: its two halves are usually read in succession."""
    memory = threading.local()

    def decoded(index):
        if getattr(memory, 'index', None) != index:
            memory.index = None
            memory.decoded = decode.decode_with_metadata(source.read(index), source.options)
            memory.index = index
        return memory.decoded

    return dataclasses.replace(source, decoded=decoded)

"""Writes a folder of images as record files, after a check of what can be stored."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from cyclegan_tf.data import decode, inspection, png, sources
from cyclegan_tf.data.pictures import MAX_PIXELS, ReadOptions
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.threads import map_ahead

if TYPE_CHECKING:
    from prepare_records import RecordsConfig

SHARD_BYTES = 2**30  # of pixels in a file, before compression; TensorFlow Datasets aims at files of 64 MiB to 1 GiB
AHEAD = 4  # images that are read ahead of the one that is written, for each thread
STORED_AS_THEY_ARE = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n')  # the first bytes of JPEG and PNG

Shard = Callable[[], Iterator[tuple[int, dict[str, Any]]]]  # yields (index, image and name) of all images of a file


def store(config: RecordsConfig) -> None:
    """Checks the images, writes the records, and prints how to train from them.

    Raises:
        UserError: folders are missing, the data set exists already or cannot be written, or images cannot be used, and
            the message lists all of them.
    """
    check_output(config)
    cache_dir = inspection.choose_cache_dir(config.cache_dir, print)
    splits = leave_aside(config, open_splits(config), cache_dir)
    headers = {}
    for split, (_, findings) in splits.items():
        print(f'{split}: {inspection.describe(findings)}.', flush=True)
        headers[split] = [finding.header for finding in findings]
    with concurrent.futures.ThreadPoolExecutor(config.num_threads) as pool:
        shards = {
            split: make_shards(source, config.num_shards or count_shards(headers[split]), pool, config.num_threads)
            for split, (source, _) in splits.items()
        }
        builder = write(config, shards, make_features(sum(headers.values(), [])))
    for split, info in builder.info.splits.items():
        print(f'{split}: {info.num_examples} images, {info.num_bytes / 1e6:.1f} MB, files: {info.num_shards}')
    mode = '' if config.dataset_mode == 'unaligned' else f' --dataset_mode={config.dataset_mode}'
    print('To train from these records, either of:')
    print(f'  {shlex.quote(f"--dataroot={builder.data_path}")}{mode}')
    print(f'  --dataroot=tfds:{builder.name} {shlex.quote(f"--data_dir={config.data_dir}")}{mode}')


# -------------------------------------------------------------------------------------------------- what can be stored
def check_output(config: RecordsConfig) -> None:
    """Raises UserError if the data set exists (it is never overwritten), or its name or folder cannot be used."""
    name = config.dataset_name
    if tf.io.gfile.exists(os.path.join(config.data_dir, name, config.VERSION)):
        existing = f'{name}/{config.VERSION}'
        raise UserError(f"`output` ('{config.output}') holds {existing} already; set another --name or --output.")
    if name in tfds.list_builders(with_community_datasets=False):
        # tfds:NAME would open that data set.
        raise UserError(f"`name` ('{name}') is that of a data set of TensorFlow Datasets; set --name to another.")
    with writing_to(config):
        tf.io.gfile.makedirs(config.data_dir)
    for incomplete in tf.io.gfile.glob(os.path.join(config.data_dir, name, f'incomplete.*_{config.VERSION}')):
        print(f'Note: delete {incomplete}, which a killed run has left, unless another run is still writing it.')


def open_splits(config: RecordsConfig) -> dict[str, sources.Source]:
    """The images of each folder that exists, by its name: 'trainA', ...

    Raises:
        UserError: a folder that training needs is missing, or a folder holds no images.
    """
    splits = {}
    for phase in ('train', 'val', 'test'):
        for split in splits_of(config, phase):
            folder = os.path.join(os.path.expanduser(config.dataroot), split)
            if tf.io.gfile.isdir(folder):
                (splits[split],) = sources.open_domains(folder, phase, 'single', options=[read_options(config)])
            elif phase == 'train':
                raise UserError(f"`dataroot` ('{config.dataroot}') has no folder {split}; set it to one that has.")
    return splits


def splits_of(config: RecordsConfig, phase: str) -> list[str]:
    """The folders of a phase; for pairs with further ones, such as trainA2, whose images may be stacked."""
    if config.dataset_mode == 'aligned':
        return [phase]
    needed, root = [f'{phase}A', f'{phase}B'], os.path.expanduser(config.dataroot)
    if config.dataset_mode == 'unaligned' or not tf.io.gfile.isdir(root):
        return needed
    present = (name.rstrip('/') for name in tf.io.gfile.listdir(root))
    return needed + sorted(name for name in present if name.startswith(tuple(needed)) and name not in needed)


def leave_aside(
    config: RecordsConfig, splits: Mapping[str, sources.Source], cache_dir: Optional[str]
) -> dict[str, tuple[sources.Source, list[inspection.Finding]]]:
    """The images of each split that can be stored, and their findings.

    Raises:
        UserError: some images cannot be stored; with on_bad_image skip only if none of a split can.
    """
    lines, kept = [], {}
    for split, source in splits.items():
        findings = [storable(finding) for finding in inspection.inspect(source, config.num_threads, cache_dir)]
        for line in inspection.notes(source, findings):
            print(line)
        lines += inspection.bad_images(source, findings)
        good = [i for i, finding in enumerate(findings) if finding.problem is None]
        kept[split] = source.select(good), [findings[i] for i in good]
    if config.on_bad_image == 'error':
        inspection.refuse(lines, sum(map(len, splits.values())))
    for line in lines:
        print(f'Skipped: {line}')
    for source, _ in kept.values():
        if not len(source):
            raise UserError(f"no image of '{source.where}' can be used; put others there, or remove the folder.")
    return kept


def storable(finding: inspection.Finding) -> inspection.Finding:
    """The finding, with a problem if there are channels beyond gray, colour and alpha, which PNG cannot hold."""
    header = finding.header
    if finding.problem is not None or header.channels in (1, 3) or (header.channels in (2, 4) and header.has_alpha):
        return finding
    what = '' if header.channels > 4 else ', none of them alpha'
    return dataclasses.replace(
        finding, problem=f'it has {header.channels} channels{what}; records hold gray and colour, with or without alpha'
    )


def read_options(config: RecordsConfig) -> ReadOptions:
    """How images are read: with all their channels, whatever networks will take."""
    return ReadOptions(channels=(), max_pixels=config.max_image_pixels or MAX_PIXELS)


def encode(data: bytes, options: ReadOptions) -> bytes:
    """An encoded image as it is stored: JPEG and PNG as they are, others as PNG, upright, with the same pixels.

    Raises:
        decode.BadImage: it cannot be decoded.
    """
    if data.startswith(STORED_AS_THEY_ARE):
        return data
    return png.encode(decode.to_array(decode.decode(data, options)))


# ------------------------------------------------------------------------------------------------------------- writing
class ReadOnce:
    """An encoded image as a file, which releases it when it is read: the writer keeps every example, to count them."""

    def __init__(self, data: bytes):
        self._data: Optional[bytes] = data

    def read(self) -> bytes:
        """The image."""
        data, self._data = self._data, None
        return data


def make_shards(source: sources.Source, count: int, pool: concurrent.futures.Executor, threads: int) -> list[Shard]:
    """The contents of each file of a split: of `count` files, or of as many as there are images."""

    def read(index):
        try:
            return encode(source.read(index), source.options)
        except decode.BadImage as error:  # it could be decoded when it was checked
            raise source.error(index, error) from error

    def examples(first, last):
        encoded = map_ahead(read, range(first, last), pool, AHEAD * threads)
        for index, image in enumerate(progress_bar(encoded, f'Writing {source.where}', last - first), first):
            name = os.path.relpath(source.label(index), source.where).replace(os.sep, '/')
            yield index, {'image': ReadOnce(image), 'name': name}

    count = min(count, len(source))
    bounds = [len(source) * i // count for i in range(count + 1)]
    return [functools.partial(examples, first, last) for first, last in zip(bounds, bounds[1:])]


def count_shards(headers: Sequence[decode.Header]) -> int:
    """The number of files of a split, unless it is given."""
    return math.ceil(sum(h.width * h.height * h.channels * h.bits // 8 for h in headers) / SHARD_BYTES)


def make_features(headers: Sequence[decode.Header]) -> tfds.features.FeaturesDict:
    """What TensorFlow Datasets is told about the images; our own reader looks at the images themselves."""
    channels, deep = {header.channels for header in headers}, any(header.bits > 8 for header in headers)
    shape = (None, None, channels.pop() if channels in ({1}, {4}) else 3)
    kind = dict(dtype=np.uint16, encoding_format='png') if deep else dict(dtype=np.uint8)
    image = tfds.features.Image(shape=shape, **kind)
    return tfds.features.FeaturesDict({'image': image, 'name': tfds.features.Text()})


class FolderBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes the given shards in order, one image after the other.

    GeneratorBasedBuilder would write in the order of hashes, or with disable_shuffling keep a whole split in memory.
    """

    def __init__(self, config: RecordsConfig, shards: Mapping[str, Sequence[Shard]], features: Any):
        self.name, self._shards, self._features = config.dataset_name, shards, features
        self.VERSION = tfds.core.Version(config.VERSION)
        super().__init__(data_dir=config.data_dir, file_format=config.file_format)

    def _info(self) -> tfds.core.DatasetInfo:
        # Not dataset_info_from_configs, which looks for files beside the class's module and fails for a script.
        return tfds.core.DatasetInfo(builder=self, features=self._features, disable_shuffling=True)

    def _shard_iterators_per_split(self, dl_manager):
        return self._shards


def write(config: RecordsConfig, shards: Mapping[str, Sequence[Shard]], features: Any) -> FolderBuilder:
    """Writes all splits; they appear completely or not at all."""
    builder = FolderBuilder(config, shards, features)
    # The public bucket of prepared data sets is not used. The download folder, which is always created, is temporary.
    download = tfds.download.DownloadConfig(try_download_gcs=False)
    with writing_to(config), contextlib.redirect_stdout(None), tempfile.TemporaryDirectory() as download_dir:
        builder.download_and_prepare(download_config=download, download_dir=download_dir)
    return builder


@contextlib.contextmanager
def writing_to(config: RecordsConfig) -> Iterator[None]:
    """Raises a UserError for what goes wrong with the output."""
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:  # ArrayRecord raises RuntimeError
        reason = ' '.join(str(getattr(error, 'message', error)).split())
        raise UserError(f"`output` ('{config.output}') cannot be written ({reason}); set it to another.") from error

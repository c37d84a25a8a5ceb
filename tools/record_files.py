"""Writes a folder of images as record files, after a check of what can be stored; here or by other processes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Optional, Protocol

import tensorflow as tf

from cyclegan_tf.data import decode, inspection, record_shards, sources
from cyclegan_tf.data.pictures import MAX_PIXELS, ReadOptions
from cyclegan_tf.data.record_shards import ImageShard
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.records import VERSION, RecordsConfig

SHARD_BYTES = 2**30  # of pixels in a file, before compression; TensorFlow Datasets aims at files of 64 MiB to 1 GiB

Splits = Mapping[str, tuple[sources.Source, Sequence[inspection.Finding]]]  # the images that are stored
Sizes = Mapping[str, Sequence[tuple[int, int]]]  # number of images and of bytes in each file of a split


class Workers(Protocol):
    """What looks at all images and writes all files.

    Attributes:
        go_on: whether files that a run has completed before it was stopped are kept for the next one.
    """

    go_on: ClassVar[bool]

    def inspect(self, source: sources.Source, cache_dir: Optional[str]) -> list[inspection.Finding]:
        """As inspection.inspect."""

    def write(self, shards: Sequence[ImageShard]) -> None:
        """Writes files; raises as record_shards.write_images."""


class Threads:
    """The threads of this process.

    Args:
        number: of threads.
    """

    go_on = False

    def __init__(self, number: int):
        self._number = number

    def inspect(self, source: sources.Source, cache_dir: Optional[str]) -> list[inspection.Finding]:
        """See Workers."""
        return inspection.inspect(source, self._number, cache_dir)

    def write(self, shards: Sequence[ImageShard]) -> None:
        """See Workers."""
        with concurrent.futures.ThreadPoolExecutor(self._number) as pool:
            for shard in shards:
                record_shards.write_images(shard, pool, self._number)


def store(config: RecordsConfig, start: Callable[[], contextlib.AbstractContextManager[Workers]]) -> None:
    """Checks the images, writes the records, and prints how to train from them.

    Args:
        config: what to store, and where.
        start: makes a context in which workers work; called after all that needs none.

    Raises:
        UserError: folders are missing, the data set exists already or cannot be written, or images cannot be used, and
            the message lists all of them.
    """
    check_output(config)
    cache_dir = inspection.choose_cache_dir(config.cache_dir, print)
    opened = open_splits(config)
    with start() as workers:
        splits = leave_aside(config, opened, workers, cache_dir)
        for split, (_, findings) in splits.items():
            print(f'{split}: {inspection.describe(findings)}.', flush=True)
        sizes = write(config, splits, workers)
    for split, files in sizes.items():
        count, size = (sum(numbers) for numbers in zip(*files))
        print(f'{split}: {count} images, {size / 1e6:.1f} MB, files: {len(files)}')
    mode = '' if config.dataset_mode == 'unaligned' else f' --dataset_mode={config.dataset_mode}'
    print('To train from these records, either of:')
    print(f'  {shlex.quote(f"--dataroot={config.directory}")}{mode}')
    print(f'  --dataroot=tfds:{config.dataset_name} {shlex.quote(f"--data_dir={config.data_dir}")}{mode}')


# -------------------------------------------------------------------------------------------------- what can be stored
def check_output(config: RecordsConfig) -> None:
    """Raises UserError if the data set exists (it is never overwritten), or its name or folder cannot be used."""
    name = config.dataset_name
    if tf.io.gfile.exists(config.directory):
        existing = f'{name}/{VERSION}'
        raise UserError(f"`output` ('{config.output}') holds {existing} already; set another --name or --output.")
    record_shards.refuse_taken_name('name', name)
    with writing_to(config):
        tf.io.gfile.makedirs(config.data_dir)


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
    config: RecordsConfig, splits: Mapping[str, sources.Source], workers: Workers, cache_dir: Optional[str]
) -> Splits:
    """The images of each split that can be stored, and their findings.

    Raises:
        UserError: some images cannot be stored; with on_bad_image skip only if none of a split can.
    """
    lines, kept = [], {}
    for split, source in splits.items():
        findings = [storable(finding) for finding in workers.inspect(source, cache_dir)]
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


# ------------------------------------------------------------------------------------------------------------- writing
def write(config: RecordsConfig, splits: Splits, workers: Workers) -> Sizes:
    """Writes all splits; they appear completely or not at all.

    Raises:
        UserError: the output cannot be written, or an image cannot be read any more.
    """
    key = key_of(config, splits) if workers.go_on else None
    for incomplete in record_shards.leftovers(config.directory, key):
        print(f'Note: delete {incomplete}, which a killed run has left, unless another run is still writing it.')
    kinds = {(header.channels, header.bits) for header in _headers(splits)}
    channels, is_deep = tuple(sorted({count for count, _ in kinds})), any(bits > 8 for _, bits in kinds)
    with writing_to(config), record_shards.unfinished(config.directory, key) as folder:
        shards = {
            split: make_shards(config, folder, split, source, findings, channels, is_deep)
            for split, (source, findings) in splits.items()
        }
        wanted = [shard for of_split in shards.values() for shard in of_split]
        missing = [shard for shard in wanted if not tf.io.gfile.exists(shard.path)]
        if there := len(wanted) - len(missing):
            print(f'{there} of {len(wanted)} files are there already, from a run that was stopped.', flush=True)
        workers.write(missing)
        sizes = {
            split: [(len(shard.files), tf.io.gfile.stat(shard.path).length) for shard in of_split]
            for split, of_split in shards.items()
        }
        features = record_shards.image_features(channels, is_deep)
        record_shards.write_metadata(folder, config.dataset_name, VERSION, sizes, features, config.file_format)
    return sizes


def _headers(splits: Splits) -> Iterator[decode.Header]:
    return (finding.header for _, findings in splits.values() for finding in findings)


def make_shards(
    config: RecordsConfig,
    folder: str,
    split: str,
    source: sources.Source,
    findings: Sequence[inspection.Finding],
    channels: tuple[int, ...],
    is_deep: bool,
) -> list[ImageShard]:
    """The files of a split, which all have the same number of images, or one more."""
    bounds = shard_bounds(config, findings)
    files = [source.label(index) for index in range(len(source))]
    return [
        ImageShard(
            path=record_shards.shard_path(
                folder, config.dataset_name, split, config.file_format, number, len(bounds) - 1
            ),
            file_format=config.file_format,
            files=files[first:last],
            folder=source.where,
            options=source.options,
            channels=channels,
            is_deep=is_deep,
        )
        for number, (first, last) in enumerate(zip(bounds, bounds[1:]))
    ]


def shard_bounds(config: RecordsConfig, findings: Sequence[inspection.Finding]) -> list[int]:
    """The indices of the first image of each file of a split, and at the end the number of images."""
    total = len(findings)
    count = min(config.num_shards or count_shards([finding.header for finding in findings]), total)
    return [total * i // count for i in range(count + 1)]


def count_shards(headers: Sequence[decode.Header]) -> int:
    """The number of files of a split, unless it is given."""
    return math.ceil(sum(h.width * h.height * h.channels * h.bits // 8 for h in headers) / SHARD_BYTES)


def key_of(config: RecordsConfig, splits: Splits) -> str:
    """Text that depends on all that determines what is in the files: what the images are, how they are divided."""
    digest = hashlib.sha256(f'{config.dataset_name} {config.file_format}'.encode())
    for split, (source, findings) in splits.items():
        digest.update(f'\n{split} {shard_bounds(config, findings)}\n'.encode())
        for index, finding in enumerate(findings):
            name = os.path.relpath(source.label(index), source.where)
            digest.update(f'{name} {finding.digest}\n'.encode())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def writing_to(config: RecordsConfig) -> Iterator[None]:
    """Raises a UserError for what goes wrong with the output."""
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:  # ArrayRecord raises RuntimeError
        reason = ' '.join(str(getattr(error, 'message', error)).split())
        raise UserError(f"`output` ('{config.output}') cannot be written ({reason}); set it to another.") from error

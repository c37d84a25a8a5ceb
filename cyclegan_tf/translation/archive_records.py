"""Translates an archive into a prepared data set: each part of the work writes one of its shards."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Union

from cyclegan_tf.data import record_shards
from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime import storage
from cyclegan_tf.runtime.files import write_json
from cyclegan_tf.settings.archive import ArchiveConfig
from cyclegan_tf.settings.records import VERSION
from cyclegan_tf.translation import archive


@dataclasses.dataclass(frozen=True)
class Shard:
    """What a part of the work has written.

    Attributes:
        examples, size: number of images and of bytes.
        channels: the numbers of channels that the images have.
        is_deep: whether some have more than 8 bits.
    """

    examples: int
    size: int
    channels: tuple[int, ...]
    is_deep: bool


def target(settings: ArchiveConfig) -> str:
    """The folder of the data set.

    Raises:
        UserError: it exists already, or its name is taken.
    """
    record_shards.refuse_taken_name('dataset_name', settings.dataset_name)
    folder = os.path.join(os.path.expanduser(settings.output), settings.dataset_name, VERSION)
    if os.path.exists(folder):
        raise UserError(
            f"`output` ('{settings.output}') holds {settings.dataset_name}/{VERSION} already; set another "
            f'--dataset_name or --output.'
        )
    return folder


@contextlib.contextmanager
def unfinished(settings: ArchiveConfig, items: Sequence[archive.Item], parts: int) -> Iterator[str]:
    """A context with the folder to write to, which becomes `target` in the end. The same work takes over what it has
    left when it was killed.

    Raises:
        UserError: the data set exists already, or cannot be written.
    """
    import tensorflow as tf

    place, of_model = target(settings), _model_stamp(settings)
    # What does not change the results is left out: where the work is done.
    chosen = {name: value for name, value in dataclasses.asdict(settings).items() if name not in _ELSEWHERE}
    determining = json.dumps([chosen, of_model, parts, [dataclasses.astuple(item) for item in items]])
    key = hashlib.sha256(determining.encode(errors='surrogateescape')).hexdigest()[:12]
    for folder in record_shards.leftovers(place):
        if f'incomplete.{key}_' not in folder:
            print(f'Note: delete {folder}, which another program has left, unless it is still writing it.', flush=True)
    try:
        with record_shards.unfinished(place, key) as folder:
            yield folder
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, 'strerror', None) or first_line(error)
        raise UserError(f"`output` ('{settings.output}') cannot be written ({reason}); set it to another.") from error


_ELSEWHERE = ('master', 'max_failures', 'verbose', 'num_threads', 'partitions')


def _model_stamp(settings: ArchiveConfig) -> list[Any]:
    """What changes when a run is trained on, or a model exported anew."""
    folder = settings.model_dir or os.path.join(settings.checkpoints_dir, settings.name)
    paths = sorted(pathlib.Path(folder).expanduser().rglob('*'))
    ending = ('checkpoint', '.pb', '.index')
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.name.endswith(ending)]


def translate_part(
    settings: ArchiveConfig, folder: str, parts: int, part: int, items: Iterable[archive.Item]
) -> Iterator[Union[archive.Record, Shard]]:
    """Translates files into a shard, which appears as a whole or not at all.

    Args:
        settings: what translates, and how the data set is stored.
        folder: the data set's, see `unfinished`.
        parts: number of parts.
        part: number of this one.
        items: its files.

    Yields:
        A record for each file, and in the end the shard.

    Raises:
        UserError: the model cannot be loaded, or the folder not be written.
    """
    path = record_shards.shard_path(folder, settings.dataset_name, settings.split, settings.file_format, part, parts)
    beside = pathlib.Path(folder) / f'.{os.path.basename(path)}.part'  # deleted when the data set is complete
    items = list(items)
    if os.path.exists(path) and beside.exists():
        written = json.loads(beside.read_text())
        reasons = written.pop('failures')
        for item in items:
            is_there = item.path not in reasons
            outcome = archive.THERE if is_there else archive.FAILED
            yield archive.Record(item.path, outcome, reasons.get(item.path, ''))
        yield Shard(**{**written, 'channels': tuple(written['channels'])})
        return
    yield from _write(settings, path, beside, items)


def _write(settings, path, beside, items) -> Iterator[Union[archive.Record, Shard]]:
    records: list[archive.Record] = []
    stems = {item.path: item.stem for item in items}
    channels, depths = set(), set()

    def examples(scratch, translated):
        """What is translated, one at a time, without its file; and its record, put down."""
        for record in translated:
            records.append(record)
            if record.outcome != archive.FAILED:
                picture = scratch / f'{stems[record.path]}.png'
                data = picture.read_bytes()
                picture.unlink()
                depth, found = _png_kind(data)
                channels.add(found)
                depths.add(depth)
                yield {'image': data, 'name': f'{stems[record.path]}.png'}

    with storage.Folder('output', os.path.dirname(path)).scratch() as scratch:
        # Files, of which each is read and deleted when it is there.
        translated = archive.translate(items, archive.load(settings), storage.Folder('output', str(scratch)), settings)
        features = record_shards.image_features([3], False)  # it does not matter here, as images are stored as they are
        number, size = record_shards.write_shard(path, examples(scratch, translated), features, settings.file_format)
    failures = {record.path: record.reason for record in records if archive.is_kept(record)}
    shard = Shard(number, size, tuple(sorted(channels)), max(depths, default=8) > 8)
    write_json(beside, {**dataclasses.asdict(shard), 'failures': failures})
    yield from records
    yield shard


def _png_kind(data: bytes) -> tuple[int, int]:
    """Bits and number of channels of a PNG, which its header says (PNG specification, 11.2.2)."""
    return data[24], {0: 1, 2: 3, 4: 2, 6: 4}[data[25]]


def counts_of(result: Union[archive.Record, Shard]) -> Mapping[str, int]:
    """What a result adds to the counters of a run."""
    return {} if isinstance(result, Shard) else archive.counts_of(result)


def is_kept(result: Union[archive.Record, Shard]) -> bool:
    """Whether the program that hands out the work needs a result."""
    return isinstance(result, Shard) or archive.is_kept(result)


def finish(settings: ArchiveConfig, folder: str, shards: Sequence[Shard]) -> None:
    """Makes a folder with all shards a data set.

    Raises:
        UserError: no image could be translated.
    """
    if not sum(shard.examples for shard in shards):
        raise UserError(f"no image of `input` ('{settings.input}') could be translated, see above; add others.")
    features = record_shards.image_features(
        sorted({number for shard in shards for number in shard.channels}), any(shard.is_deep for shard in shards)
    )
    shutil.rmtree(os.path.join(folder, storage.SCRATCH), ignore_errors=True)  # of workers that died
    sizes = [(shard.examples, shard.size) for shard in shards]
    record_shards.write_metadata(
        folder, settings.dataset_name, VERSION, {settings.split: sizes}, features, settings.file_format
    )

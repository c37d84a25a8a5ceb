"""TensorBoard's event files: finding them, counting their records, and removing events."""

from __future__ import annotations

import os
import pathlib
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Optional

import tensorflow as tf

from cyclegan_tf.runtime.files import sync, whole_file

if TYPE_CHECKING:
    from tensorboard.compat.proto import event_pb2

# A record is preceded by its length, with a checksum, and followed by its own checksum.
_LENGTH, _CHECKSUM = struct.Struct('<Q4x'), 4  # bytes


def find(folder: pathlib.Path) -> list[pathlib.Path]:
    """A folder's event files, oldest first; an empty list if the folder does not exist."""
    return sorted(folder.glob('events.out.tfevents.*'))


def count(path: pathlib.Path, start: int = 0) -> tuple[int, int]:
    """Counts the complete records from a position on, by their lengths alone.

    Args:
        path: path of the file.
        start: a position between two records, in bytes.

    Returns:
        The number of records, and the position after the last one.

    Raises:
        OSError: the file no longer exists.
    """
    records, size = 0, path.stat().st_size
    with open(path, 'rb') as file:
        while len(head := os.pread(file.fileno(), _LENGTH.size, start)) == _LENGTH.size:
            after = start + _LENGTH.size + _LENGTH.unpack(head)[0] + _CHECKSUM
            if after > size:
                break
            records, start = records + 1, after
    return records, start


def rewrite(folder: pathlib.Path, wanted: Callable[[event_pb2.Event], bool]) -> None:
    """Removes events, and records that a kill left incomplete, from a folder's files; each file changes atomically.

    Nothing may be writing there. A file of which only the header would remain is deleted.

    Args:
        folder: folder of the files.
        wanted: whether an event is kept; it is called once for each event, in order, but not for headers, which are
            always kept.
    """
    for path in find(folder):
        answers = [event is not None and (_is_header(event) or wanted(event)) for event in _events(path)]
        if sum(answers) <= 1:
            path.unlink()
            continue
        if all(answers):
            continue
        with whole_file(path) as partial:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                for event, is_kept in zip(_events(path), answers):
                    if is_kept:
                        writer.write(event.SerializeToString())
            sync([partial])
    if folder.is_dir():
        sync([folder])


def scalars(event: event_pb2.Event) -> dict[str, float]:
    """The points of curves in an event, by tag; most events have one or none."""
    return {
        value.tag: float(tf.make_ndarray(value.tensor))
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == 'scalars'
    }


def _is_header(event: event_pb2.Event) -> bool:
    return event.HasField('file_version')


def _events(path: pathlib.Path) -> Iterator[Optional[event_pb2.Event]]:
    """The events of a file, and None at the end if the last record is incomplete."""
    from tensorboard.compat.proto import event_pb2

    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield event_pb2.Event.FromString(record.numpy())
    except tf.errors.DataLossError:
        yield None

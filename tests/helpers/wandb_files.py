"""Reads what Weights & Biases has written offline."""

import json
import pathlib
import struct

_HEAD, _BLOCK = struct.Struct('<IHB'), 32768  # checksum, length and kind of a part of a record; no part crosses a block


def records(path):
    """The complete records of a file, as wandb's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, begun = pathlib.Path(path).read_bytes(), 7, b''  # behind the file's own header
    assert data.startswith(b':W&B')
    while place + _HEAD.size <= len(data):
        if _BLOCK - place % _BLOCK < _HEAD.size:
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = _HEAD.unpack_from(data, place)
        part = data[place + _HEAD.size : place + _HEAD.size + length]
        if len(part) < length or kind not in (1, 2, 3, 4):
            return  # a kill left it
        place += _HEAD.size + length
        begun = part if kind in (1, 2) else begun + part
        if kind in (1, 4):
            yield Record.FromString(begun)


def _row(items):
    row = {}
    for item in items:
        value, (name, *inner) = json.loads(item.value_json), list(item.nested_key) or [item.key]
        if inner:
            row.setdefault(name, {})[inner[0]] = value
        else:
            row[name] = value
    return row


class Logged:
    """What a run's directory holds for Weights & Biases, over all of its processes, in their order.

    Attributes:
        rows: of each call, the values by name; '_step' is the number of the row.
        runs: of each process, wandb's message on the run.
        exits: of each process that ended by itself, the exit status.
        metrics: name -> the metric against which it is drawn.
    """

    def __init__(self, run_directory):
        self.folder = pathlib.Path(run_directory) / 'wandb'
        self.rows, self.runs, self.exits, self.metrics = [], [], [], {}
        for path in sorted(self.folder.glob('offline-run-*/*.wandb'), key=lambda path: path.stat().st_mtime):
            new = []
            for record in records(path):
                kind = record.WhichOneof('record_type')
                if kind == 'history':
                    self.rows.append(_row(record.history.item))
                elif kind == 'run':
                    new = [record.run]
                elif kind == 'exit':
                    self.exits.append(record.exit.exit_code)
                elif kind == 'metric':
                    self.metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
            self.runs += new

    def points(self, tag):
        """[(step, value)] of a curve, in the order in which they were logged."""
        return [(row['step'], row[tag]) for row in self.rows if tag in row]

    def tags(self):
        """All tags, but wandb's own."""
        return {tag for row in self.rows for tag in row if not tag.startswith('_')} - {'step'}

    def pictures(self, tag):
        """step -> the file of a picture."""
        paths = {}
        for step, value in self.points(tag):
            (paths[step],) = self.folder.glob(f'offline-run-*/files/{value["path"]}')
        return paths

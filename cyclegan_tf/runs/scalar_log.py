"""The curves of a run as text: scalars.csv and scalars.jsonl, with the points that TensorBoard shows."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Callable, Mapping

from cyclegan_tf.runtime.files import json_values, sync, whole_file

_CSV, _JSON = 'scalars.csv', 'scalars.jsonl'
_HEADER = 'step,tag,value\n'


class ScalarLog:
    """Appends to the two files in a run's directory.

    A line of scalars.csv is a point of a curve: step, tag, value. A line of scalars.jsonl is a JSON object with a step
    and the values of all tags that were written then.

    Args:
        run_directory: directory of the files.
        writes: False appends nothing, but `cut` still works on files that are there.
    """

    def __init__(self, run_directory: pathlib.Path, writes: bool):
        self._csv, self._json, self._writes = run_directory / _CSV, run_directory / _JSON, writes

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Appends values, by tag; whole lines, which other programs may read while training runs.

        Raises:
            OSError: a file cannot be written.
        """
        if not self._writes:
            return
        begins = not self._csv.exists()
        with self._csv.open('a', newline='', encoding='utf-8') as file:
            if begins:
                file.write(_HEADER)
            csv.writer(file, lineterminator='\n').writerows((step, tag, value) for tag, value in values.items())
        with self._json.open('a', encoding='utf-8') as file:
            file.write(json.dumps(json_values({'step': step, **values}), allow_nan=False) + '\n')

    def cut(self, step: int, again: tuple[str, ...] = ()) -> None:
        """Removes what was written after a step, what was written at it of tags with these prefixes, and a last line
        that a kill left unfinished: all of that will be written again.

        Raises:
            OSError: a file cannot be written.
        """

        def stays(of_line: int, tag: str) -> bool:
            return of_line < step or (of_line == step and not tag.startswith(again or ('\n',)))

        _rewrite(self._csv, lambda line: _cut_row(line, stays))
        _rewrite(self._json, lambda line: _cut_object(line, stays))

    def flush(self) -> None:
        """Waits until everything is physically on the disk."""
        if self._writes:
            sync(path for path in (self._csv, self._json) if path.exists())


def _rewrite(path: pathlib.Path, cut: Callable[[str], str]) -> None:
    """Replaces each complete line by what `cut` makes of it, atomically."""
    if not path.exists():
        return
    with whole_file(path) as partial, path.open(encoding='utf-8', newline='') as old:
        with partial.open('w', encoding='utf-8', newline='') as new:
            new.writelines(cut(line) for line in old if line.endswith('\n'))


def _cut_row(line: str, stays: Callable[[int, str], bool]) -> str:
    if line == _HEADER:
        return line
    [[step, tag, _]] = csv.reader([line])
    return line if stays(int(step), tag) else ''


def _cut_object(line: str, stays: Callable[[int, str], bool]) -> str:
    values = json.loads(line)
    step = values.pop('step')
    kept = {tag: value for tag, value in values.items() if stays(step, tag)}
    if len(kept) == len(values):
        return line
    return json.dumps({'step': step, **kept}) + '\n' if kept else ''

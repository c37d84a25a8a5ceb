"""Results of an evaluation: as scalars, as one number by which checkpoints compare, and as a table for the terminal."""

from __future__ import annotations

import csv
import math
import pathlib
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Optional

import numpy as np

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import count
from cyclegan_tf.runtime.files import whole_file

Results = Mapping[str, Mapping[str, float]]  # direction -> name -> value

# Column -> its format. kid_standard_error is shown next to kid.
_COLUMNS = {
    'psnr': '.2f', 'ssim': '.4f', 'edges': '.3f', 'pixel_accuracy': '.4f', 'class_accuracy': '.4f',
    'class_iou': '.4f', 'kid': '.5f', 'fid': '.3f', 'cycle': '.4f', 'identity': '.4f'
}  # fmt: skip
_MEANINGS = {
    'psnr': 'dB against the counterpart, higher is better',
    'ssim': 'against the counterpart, at most 1, higher is better',
    'edges': 'edge strength relative to the counterpart: 1 is right, less means blur or weak contrast, more means '
    'noise, patterns or strong contrast',
    'pixel_accuracy': 'share of pixels of the right class, higher is better',
    'class_accuracy': 'the same within each class, mean over the classes, higher is better',
    'class_iou': 'intersection over union of each class, mean over the classes, higher is better',
    'kid': 'distance of features from those of real images, with its standard error, lower is better',
    'fid': 'distance of features from those of real images, lower is better; it falls with the number of images, so '
    'compare only equal numbers',
    'cycle': 'mean absolute error after translation to the other domain and back, in units of [-1, 1]',
    'identity': 'mean absolute error of a translated image of the target domain, in units of [-1, 1]',
}


def scalars(results: Results) -> dict[str, float]:
    """Scalars for TensorBoard and comparisons, 'psnr_AtoB' and so on, without counts."""
    return {
        f'{name}_{direction}': value
        for direction, values in results.items()
        for name, value in values.items()
        if name not in ('images', 'pairs')
    }


def overall(results: Results, measure: str) -> float:
    """One number for a checkpoint: a measure's mean over the directions, or its value in one, as in 'psnr_AtoB'.

    Raises:
        UserError: it was not measured.
    """
    value = find_overall(results, measure)
    if value is None:
        raise UserError(f'`keep_best` ({measure}) was not measured; set it to one of: {", ".join(scalars(results))}.')
    return value


def find_overall(results: Results, measure: str) -> Optional[float]:
    """The same as overall, but None if it was not measured. Numbers may be strings, as non-finite ones are in JSON."""
    name, _, direction = measure.partition('_')
    values = [float(one[name]) for way, one in results.items() if name in one and direction in ('', way)]
    return float(np.mean(values)) if values else None


def is_better(measure: str, new: float, old: float) -> bool:
    """Whether a new value is better: a higher one for psnr and ssim, a lower one for the others; NaN never is. Of edges
    neither is, so that it cannot be asked for."""
    if math.isnan(old) or math.isnan(new):
        return not math.isnan(new)
    return new > old if measure.partition('_')[0] in ('psnr', 'ssim') else new < old


def write_images(path: pathlib.Path, rows: Sequence[Mapping]) -> None:
    """Writes a CSV with a row for each image; without rows there is no file, nor one from before.

    Args:
        path: of the file.
        rows: column -> value; the first columns are those of the first row, and what a row has not stays empty.
    """
    if not rows:
        path.unlink(missing_ok=True)
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(path) as partial, partial.open('w', newline='', encoding='utf-8', errors='replace') as file:
        writer = csv.DictWriter(file, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def table(measured: Sequence[Mapping], untranslated: Results) -> list[str]:
    """Lines for the terminal: a row for each checkpoint and direction, below the untranslated images' rows."""
    rows = [('', '', direction, 'untranslated', values) for direction, values in untranslated.items()]
    for one in measured:
        epoch = '' if one['epoch'] is None else str(one['epoch'])
        rows += [(epoch, str(one['step']), direction, '', values) for direction, values in one['results'].items()]
    columns = [name for name in _COLUMNS if any(name in row[-1] for row in rows)]
    cells = [['epoch', 'step', 'direction', *columns]]
    for epoch, step, direction, label, values in rows:
        numbers = [_text(name, values) if name in values else '-' for name in columns]
        cells.append([label or epoch, step, direction, *numbers])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ['  '.join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells]
    counts = {direction: values for direction, values in measured[-1]['results'].items()}
    for direction, values in counts.items():
        pairs = f', {values["pairs"]} with a counterpart' if 'pairs' in values else ''
        lines.append(f'{direction}: {values["images"]} images{pairs}.')
    return lines + [f'{name}: {_MEANINGS[name]}.' for name in columns]


def lines_of(values: Mapping[str, float]) -> list[str]:
    """Lines for the terminal: what was measured of two sets of images."""
    return [f'{name} {_text(name, values)}: {_MEANINGS[name]}.' for name in _COLUMNS if name in values]


def tell_problems(problems: Collection[str]) -> None:
    """Prints a line for each image that could not be used; raises UserError if there are any."""
    for line in problems:
        print(f'Skipped: {line}', file=sys.stderr)
    if problems:
        raise UserError(f'{count(len(problems), "image")} could not be used, see above; all others were.')


def _text(name: str, values: Mapping[str, float]) -> str:
    text = f'{values[name]:{_COLUMNS[name]}}'
    return f'{text} ± {values["kid_standard_error"]:{_COLUMNS[name]}}' if name == 'kid' else text

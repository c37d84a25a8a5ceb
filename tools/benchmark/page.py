"""Writes the page about the growth and the parts of the training step, Markdown with a picture."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from cyclegan_tf.errors import UserError

LOW = 0.6  # parts that reach less of the peak are explained below the table
ALIKE = 0.1  # relative difference up to which two times of the same step need no explanation

REASONS = {
    'generator encoder': 'the first convolution reads 3 channels, which leave vectors of 16 mostly empty; its instance '
    'norms and activations process the largest feature maps and are memory-bound',
    'generator blocks': 'instance norms, activations, mirrored borders and sums are memory-bound',
    'generator decoder': 'the last convolution writes 3 channels, which leave vectors of 16 mostly empty; instance '
    'norms and activations process the largest feature maps and are memory-bound',
    'discriminator': 'the first convolution reads 3 channels and the last one writes 1, which leave vectors of 16 '
    'mostly empty; instance norms and activations are memory-bound',
    'generators': 'Adam is memory-bound: 12 operations for 28 bytes that it reads and writes',
    'discriminators': 'Adam is memory-bound: 12 operations for 28 bytes that it reads and writes',
    'whole step': 'the reasons of its parts, and also losses, image pools and sums of gradients',
}


def write(result: Mapping[str, Any], command: str, path: pathlib.Path) -> None:
    """Writes the page, and the picture next to it.

    Args:
        result: as growth prints it.
        command: command that measured it.
        path: path of the page.

    Raises:
        UserError: they cannot be written.
    """
    from benchmark import plot  # Matplotlib, which nobody else needs

    picture = path.with_suffix('.png')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plot.draw(result).savefig(picture)
        path.write_text('\n'.join(lines(result, command, picture.name)) + '\n')
    except OSError as error:
        raise UserError(f"`output` ('{path}') cannot be written ({error.strerror}); set it to another.") from error


def lines(result: Mapping[str, Any], command: str, picture: str) -> Iterator[str]:
    """The lines of the page."""
    settings = result['settings']
    yield '# Speed of the training step'
    yield ''
    yield (
        'This page covers how the time and the memory of a training step grow with images, batch and replicas, and '
        'where the time goes. It was written by a benchmark.'
    )
    yield ''
    yield f'Measured on {result["date"]} with `{command}` on {result["machine"]}.'
    yield ''
    yield (
        f'{settings["netG"]}, `--ngf={settings["ngf"]} --ndf={settings["ndf"]} --precision={settings["precision"]}`, '
        f'other flags at their defaults. Medians of {settings["repeats"]} after a warm-up; in brackets the minimum and '
        f'the maximum. Each row of the first two tables was measured in a separate process.'
    )
    yield ''
    yield f'![Seconds per megapixel by size and batch, and the share of the peak by part]({picture})'
    yield from _sizes(result['steps'])
    yield from _replicas(result['replicas'])
    yield from _parts(result)


def _sizes(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _heading('Size of images and batch')
    cells = []
    for row in rows:
        start = [f'{row["size"]}x{row["size"]}', str(row['batch'])]
        if 'skipped' in row:
            cells.append([*start, f'not measured: {row["skipped"]}', '', '', ''])
            continue
        per_megapixel = row['seconds'] / row['pixels'] * 1e6
        speed = f'{row["images_per_second"]:.3g}'
        cells.append([*start, _spread(row), speed, f'{per_megapixel:.3g}', f'{row["peak_bytes"] / 1e9:.2f}'])
    titles = ['images', 'batch', 'seconds of a step', 'images of each domain per second', 'seconds per megapixel']
    yield from table([*titles, 'peak memory, GB'], cells)


def _replicas(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _heading('Replicas')
    yield (
        f'Logical CPUs (`--virtual_devices`), which share the processor: this shows their overhead, not the gain from '
        f'several machines. The batch of {rows[0]["batch"]} images of {rows[0]["size"]}x{rows[0]["size"]} is divided '
        f'among them; measured in turns.'
    )
    yield ''
    cells = [
        [str(row['replicas']), _spread(row), f'{row["steps_per_second"]:.3g}', f'{row["peak_bytes"] / 1e9:.2f}']
        for row in rows
    ]
    yield from table(['replicas', 'seconds of a step', 'steps per second', 'peak memory, GB'], cells)


def _parts(result: Mapping[str, Any]) -> Iterator[str]:
    size = result['settings']['crop_size']
    yield from _heading('Where the time goes')
    by = '; '.join(f'{name}: {rate:.0f} GFLOP/s' for name, rate in result['peak_by'].items())
    yield (
        f'Images of {size}x{size}, one of each domain. The peak is the best that this machine reached in the same '
        f'minutes, **{result["peak"]:.0f} GFLOP/s** ({by}). Operations are the products and sums that convolutions '
        f"need, counted from their shapes, forward and for each of the two gradients, and Adam's. Those of norms, "
        f'activations and losses are not counted, but their time is. Transformed convolutions '
        f'(networks/kernels/winograd.py) do fewer operations than are counted, so their rate can exceed the peak. Each '
        f'part is compiled and timed by itself; the time of a backward pass is that of both passes minus that of the '
        f'forward pass.'
    )
    yield ''
    rows = [*result['parts'], result['step']]
    cells = [
        [
            row['part'],
            row['phase'],
            str(row['calls']),
            f'{1e3 * row["seconds"]:.4g}',
            f'{row["gflop"]:.4g}',
            _rate(row['gflop_per_s']),
            _share(row['share']),
            f'{row["step_seconds"]:.3g}',
        ]
        for row in rows
    ]
    titles = ['part', 'phase', 'calls in a step', 'ms of a call', 'GFLOP', 'GFLOP/s', 'of the peak']
    yield from table([*titles, 'seconds in a step'], cells)
    yield from reasons(rows)
    yield ''
    cells = [
        [row['of'], f'{row["seconds"]:.3g}', f'{row["gflop"]:.4g}', _rate(row['gflop_per_s']), _share(row['share'])]
        for row in result['totals']
    ]
    yield from table(['in a step', 'seconds', 'GFLOP', 'GFLOP/s', 'of the peak'], cells)
    yield ''
    whole, rest = result['step']['seconds'], result['rest_seconds']
    yield from _difference(result, whole)
    if rest < 0:
        yield f'Measured by themselves, the parts take {-rest:.3g} s more than the whole step of {whole:.3g} s.'
    else:
        yield f'Of the {whole:.3g} s of the whole step, {rest:.3g} s are in no part: losses, pools and sums.'


def _difference(result: Mapping[str, Any], whole: float) -> Iterator[str]:
    """Explains a difference between the time of the whole step here and in the first table, if there is one."""
    side = result['settings']['crop_size']
    for row in result['steps']:
        if (row['size'], row['batch']) == (side, 1) and 'seconds' in row:
            if abs(row['seconds'] / whole - 1) > ALIKE:
                yield (
                    f'The whole step takes {whole:.3g} s here and {row["seconds"]:.3g} s in the first table. It is the '
                    f'same step, measured in another process at another time: compare only within a table.'
                )
                yield ''


def reasons(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line with the reason for each part that reaches less than LOW of the peak."""
    low: dict[str, list[str]] = {}
    for row in rows:
        if row['share'] is not None and row['share'] < LOW:
            low.setdefault(row['part'], []).append(f'{row["phase"]} {row["share"]:.1%}')
    if low:
        yield from ('', f'Reasons for reaching less than {LOW:.0%} of the peak:', '')
    for part, shares in low.items():
        yield f'- {part} ({"; ".join(shares)}): {REASONS[part]}.'


def table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown."""
    yield from (f'| {" | ".join(row)} |' for row in (titles, ['---'] * len(titles), *cells))


def _heading(words: str) -> Iterator[str]:
    yield from ('', f'## {words}', '')


def _spread(row: Mapping[str, float]) -> str:
    return f'{row["seconds"]:.3g} ({row["least"]:.3g} to {row["most"]:.3g})'


def _rate(value: Optional[float]) -> str:
    return 'not measurable' if value is None else f'{value:.3g}'


def _share(value: Optional[float]) -> str:
    return 'not measurable' if value is None else f'{value:.1%}'

"""The page about the training step's growth and parts, Markdown with a picture."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from cyclegan_tf.errors import UserError

LOW = 0.6  # a part that reaches less of the peak has its reason below the table
ALIKE = 0.1  # by how much two times of the same step may differ without a word

REASONS = {
    'generator encoder': 'the first convolution reads 3 channels, which leave vectors of 16 mostly empty; its instance '
    'norms and activations are of the largest images and wait for memory',
    'generator blocks': 'instance norms, activations, mirrored borders and sums wait for memory',
    'generator decoder': 'the convolutions that double the sides, and the last one, which writes 3 channels, compute '
    'products with zeros too (networks/kernels), which do not count; instance norms and activations are of the '
    'largest images and wait for memory',
    'discriminator': 'the first convolution reads 3 channels and the last one writes 1, which leave vectors of 16 '
    'mostly empty; instance norms and activations wait for memory',
    'generators': 'Adam waits for memory: 12 operations for 28 bytes that it reads and writes',
    'discriminators': 'Adam waits for memory: 12 operations for 28 bytes that it reads and writes',
    'whole step': 'the reasons of its parts; losses, image pools and the sums of gradients besides',
}


def write(result: Mapping[str, Any], command: str, path: pathlib.Path) -> None:
    """Writes the page, and the picture beside it.

    Args:
        result: as growth prints it.
        command: that measured it.
        path: of the page.

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
    """The page's."""
    settings = result['settings']
    yield '# Speed of the training step'
    yield ''
    yield f'Measured on {result["date"]} with `{command}` on {result["machine"]}.'
    yield ''
    yield (
        f'{settings["netG"]}, `--ngf={settings["ngf"]} --ndf={settings["ndf"]} --precision={settings["precision"]}`, '
        f'all else as by default. Medians of {settings["repeats"]} after one that does not count; in brackets the '
        f'least and the most. Each row of the first two tables is of a process of its own.'
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
        f'Logical CPUs (`--virtual_devices`), which share the processor: what they cost, not what several machines '
        f'bring. The batch of {rows[0]["batch"]} images of {rows[0]["size"]}x{rows[0]["size"]} is divided among them; '
        f'in turns.'
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
        f'Images of {size}x{size}, one of each domain. The peak is what this machine did at best in the same minutes, '
        f'**{result["peak"]:.0f} GFLOP/s** ({by}). Operations are the products and sums that convolutions need, '
        f"counted from their shapes, forward and for each of the two gradients, and Adam's; norms, activations and "
        f'losses count none, but their time counts. Where convolutions are transformed (networks/kernels/winograd.py), '
        f'fewer are done than are counted, and more than the peak may come out. Each part is compiled and timed by '
        f'itself; backward is the time for both ways less that for the way forward.'
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
        yield f'By themselves the parts take {-rest:.3g} s more than the whole step of {whole:.3g} s.'
    else:
        yield f'Of the {whole:.3g} s of the whole step {rest:.3g} s are in none of these parts: losses, pools and sums.'


def _difference(result: Mapping[str, Any], whole: float) -> Iterator[str]:
    """Why the whole step takes another time here than in the first table, where it does."""
    side = result['settings']['crop_size']
    for row in result['steps']:
        if (row['size'], row['batch']) == (side, 1) and 'seconds' in row:
            if abs(row['seconds'] / whole - 1) > ALIKE:
                yield (
                    f'The whole step takes {whole:.3g} s here and {row["seconds"]:.3g} s in the first table. It is the '
                    f'same step, measured in another process and in other minutes: compare within a table only.'
                )
                yield ''


def reasons(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each part that reaches less than LOW of the peak, with its reason; no line for others."""
    low: dict[str, list[str]] = {}
    for row in rows:
        if row['share'] is not None and row['share'] < LOW:
            low.setdefault(row['part'], []).append(f'{row["phase"]} {row["share"]:.1%}')
    if low:
        yield from ('', f'Why less than {LOW:.0%} of the peak is reached:', '')
    for part, shares in low.items():
        yield f'- {part} ({"; ".join(shares)}): {REASONS[part]}.'


def table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table of Markdown."""
    yield from (f'| {" | ".join(row)} |' for row in (titles, ['---'] * len(titles), *cells))


def _heading(words: str) -> Iterator[str]:
    yield from ('', f'## {words}', '')


def _spread(row: Mapping[str, float]) -> str:
    return f'{row["seconds"]:.3g} ({row["least"]:.3g} to {row["most"]:.3g})'


def _rate(value: Optional[float]) -> str:
    return 'not measurable' if value is None else f'{value:.3g}'


def _share(value: Optional[float]) -> str:
    return 'not measurable' if value is None else f'{value:.1%}'

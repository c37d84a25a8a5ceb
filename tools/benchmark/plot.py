"""The picture of the training step's growth and parts: bars, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from PIL import Image, ImageDraw, ImageFont

WIDTH = 1000  # pixels, as all below
_LABELS = 370  # the bars begin to the right of these
_NUMBERS = 110  # and leave so much for these
_LINE = 26
_MARGIN = 16
_INK, _BAR, _LIMIT = 'black', 'steelblue', 'firebrick'
_COLOURS = 32  # of the file


def draw(result: Mapping[str, Any]) -> Image.Image:
    """Seconds per megapixel by size and batch, and below it the share of the peak by part.

    Args:
        result: as growth prints it.

    Returns:
        A picture with a palette, WIDTH wide.
    """
    growth = [
        (f'{row["size"]}x{row["size"]}, batch {row["batch"]}', row['seconds'] / row['pixels'] * 1e6)
        for row in result['steps']
        if 'seconds' in row
    ]
    parts = [(f'{row["part"]}, {row["phase"]}', row['share'] or 0.0) for row in [*result['parts'], result['step']]]
    panels = [
        ('Seconds of a step per megapixel of one domain', growth, None, '{:.3g}'),
        (f'Share of the peak, {result["peak"]:.0f} GFLOP/s', parts, 1.0, '{:.0%}'),
    ]
    height = sum((len(rows) + 2) * _LINE for _, rows, _, _ in panels) + 2 * _MARGIN
    image = Image.new('RGB', (WIDTH, height), 'white')
    top = _MARGIN
    for title, rows, limit, form in panels:
        top = _panel(ImageDraw.Draw(image), top, title, rows, limit, form)
    return image.quantize(_COLOURS)


def _panel(
    canvas: ImageDraw.ImageDraw,
    top: int,
    title: str,
    rows: Sequence[tuple[str, float]],
    limit: Optional[float],
    form: str,
) -> int:
    """Draws bars under a title, with a line at the limit; returns where the next panel begins."""
    canvas.text((_MARGIN, top), title, _INK, ImageFont.load_default(18))
    font = ImageFont.load_default(15)
    most = max([limit or 0.0, *(value for _, value in rows)]) or 1.0
    per_unit = (WIDTH - _LABELS - _NUMBERS) / most
    first = top = top + _LINE
    for label, value in rows:
        canvas.text((_MARGIN, top), label, _INK, font)
        end = _LABELS + value * per_unit
        canvas.rectangle((_LABELS, top + 2, end, top + _LINE - 6), _BAR)
        canvas.text((end + 6, top), form.format(value), _INK, font)
        top += _LINE
    if limit is not None:
        canvas.line((_LABELS + limit * per_unit, first, _LABELS + limit * per_unit, top - 4), _LIMIT, 2)
    return top + _LINE

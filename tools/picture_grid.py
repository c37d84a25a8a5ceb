"""Pictures side by side under headings, for the sheets of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

# Lengths, in pixels.
GAP = 6
WIDE_GAP = 18  # between groups of columns
HEADING = 28
QUALITY = 88  # of a JPEG of a grid


def grid(groups: Sequence[Sequence[str]], rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Draws rows of pictures of one size.

    Args:
        groups: the headings of the columns, in groups.
        rows: a picture for each column.
    """
    width, height = rows[0][0].size
    lefts, left = [], -WIDE_GAP
    for group in groups:
        left += WIDE_GAP - GAP
        for _ in group:
            left += GAP
            lefts.append(left)
            left += width
    canvas = Image.new('RGB', (left, HEADING + len(rows) * (height + GAP) - GAP), 'white')
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for left, heading in zip(lefts, sum(map(list, groups), [])):
        pen.text((left, HEADING // 2), heading, 'black', font, anchor='lm')
    for number, row in enumerate(rows):
        for left, picture in zip(lefts, row):
            canvas.paste(picture, (left, HEADING + number * (height + GAP)))
    return canvas

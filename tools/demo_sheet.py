"""The documentation's picture of the demo: python tools/demo_sheet.py --output=docs/demo.jpg

From what tools/demo.sh has left in results/demo. One row a photograph: a day, the night made of it, a night, the day
made of it.
"""

from __future__ import annotations

import argparse
import pathlib

from PIL import Image, ImageDraw, ImageFont

COLUMNS = {'real_A': 'day', 'fake_B': 'night made of it', 'real_B': 'night', 'fake_A': 'day made of it'}
# Pixels of the sheet.
GAP = 6
WIDE_GAP = 18  # between the two directions
HEADING = 28
QUALITY = 88  # of the JPEG


def sheet(images: pathlib.Path, names: list[str]) -> Image.Image:
    """Some photographs, both ways.

    Args:
        images: the folder of NAME_LABEL.png, all of one size.
        names: of the photographs.

    Raises:
        FileNotFoundError: there is no such picture.
    """
    rows = [[Image.open(images / f'{name}_{label}.png').convert('RGB') for label in COLUMNS] for name in names]
    width, height = rows[0][0].size
    lefts = [column * (width + GAP) + (WIDE_GAP - GAP) * (column >= 2) for column in range(len(COLUMNS))]
    canvas = Image.new('RGB', (lefts[-1] + width, HEADING + len(rows) * (height + GAP) - GAP), 'white')
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for left, heading in zip(lefts, COLUMNS.values()):
        pen.text((left, HEADING // 2), heading, 'black', font, anchor='lm')
    for number, row in enumerate(rows):
        for left, picture in zip(lefts, row):
            canvas.paste(picture, (left, HEADING + number * (height + GAP)))
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--output', default='docs/demo.jpg', help='the JPEG file to write')
    parser.add_argument('--images', default='results/demo/test_latest/images', help='the pictures of the run')
    parser.add_argument('--names', default='astronaut,china,motorcycle', help='photographs, with commas')
    arguments = parser.parse_args()
    picture = sheet(pathlib.Path(arguments.images), arguments.names.split(','))
    picture.save(arguments.output, quality=QUALITY)


if __name__ == '__main__':
    main()

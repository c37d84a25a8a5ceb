"""The picture of the demo: which pictures it shows, and where."""

import numpy as np
from demo_sheet import COLUMNS, sheet
from picture_grid import GAP, HEADING, WIDE_GAP
from PIL import Image


def test_a_row_a_photograph_both_ways(tmp_path):
    colours = {}
    for row, name in enumerate(('cat', 'rocket')):
        for column, label in enumerate(COLUMNS):
            colours[row, column] = (40 * row + 100, 60 * column, 7)
            Image.new('RGB', (20, 16), colours[row, column]).save(tmp_path / f'{name}_{label}.png')
    pixels = np.asarray(sheet(tmp_path, ['cat', 'rocket']))
    assert pixels.shape == (HEADING + 2 * 16 + GAP, 4 * 20 + 2 * GAP + WIDE_GAP, 3)
    for (row, column), colour in colours.items():
        top, left = HEADING + row * (16 + GAP), column * (20 + GAP) + (WIDE_GAP - GAP) * (column >= 2)
        assert (pixels[top : top + 16, left : left + 20] == colour).all()
    assert (pixels[HEADING:, 40 + GAP : 40 + GAP + WIDE_GAP] == 255).all() and (pixels[:HEADING] < 128).any()

"""The sheet of compared settings: which pictures it shows, where, and how large."""

import compare_sheet
import numpy as np
import pytest
from picture_grid import GAP, HEADING, WIDE_GAP
from PIL import Image

from cyclegan_tf.errors import UserError

RUNS = {('one', 'last'): 10, ('two', 'average'): 20}  # their grey


@pytest.fixture
def compared(tmp_path):
    """Two folders of compare_settings with a run each, of five test images whose number is their green."""
    for place, ((run, weights), grey) in enumerate(RUNS.items()):
        for direction, (real, fake) in compare_sheet.DIRECTIONS.items():
            folder = tmp_path / str(place) / 'judged' / run / weights / direction / run / 'test_latest' / 'images'
            folder.mkdir(parents=True)
            for number in range(5):
                blue = 100 if direction == 'AtoB' else 200
                Image.new('RGB', (16, 16), (0, 40 * number, blue)).save(folder / f'n{number}{real}')
                Image.new('RGB', (16, 16), (grey, 40 * number, blue)).save(folder / f'n{number}{fake}')
    return f'--compared={tmp_path / "0"},{tmp_path / "1"}'


def test_a_row_has_an_image_of_each_domain_and_its_translations(compared, tmp_path):
    output = tmp_path / 'sheet.png'
    flags = [compared, '--runs=one,two:average', '--count=2', '--scale=3', f'--output={output}']
    assert compare_sheet.main(compare_sheet.parse(['compare_sheet', *flags])) == 0
    pixels, side = np.asarray(Image.open(output)), 48
    assert pixels.shape == (HEADING + 2 * side + GAP, 6 * side + 4 * GAP + WIDE_GAP, 3)
    for row, number in enumerate((0, 2)):
        for column in range(6):
            top, left = HEADING + row * (side + GAP), column * (side + GAP) + (WIDE_GAP - GAP) * (column >= 3)
            colour = (0, 10, 20)[column % 3], 40 * number, 100 if column < 3 else 200
            assert (pixels[top : top + side, left : left + side] == colour).all()
    assert (pixels[:HEADING] < 128).any()


def test_each_folder_may_begin_with_the_home_folder(compared, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    flags = ['--compared=~/0,~/1', '--runs=one,two:average', f'--output={tmp_path / "home.png"}']
    assert compare_sheet.main(compare_sheet.parse(['compare_sheet', *flags])) == 0


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--runs=one,three'], r'no judged/three/last/AtoB/.* in .*0 or .*1; has `three` been judged'),
        (['--runs=two'], 'no judged/two/last'),  # only its average has been
        (['--runs=one:mean'], "'one:mean' does not end in ':average' or ':last'"),
        (['--runs=one', '--headings=a,b'], 'needs 3 words, for A, B and each run'),
    ],
)
def test_what_is_not_there_is_named(compared, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        compare_sheet.main(compare_sheet.parse(['compare_sheet', compared, *flags, f'--output={tmp_path / "s.png"}']))

"""A list of settings is trained and judged, in several sittings where need be."""

import json
import sys

import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs import checkpoints
from tests.helpers import image_files, program

sys.path.insert(0, str(program.ROOT / 'tools'))
import compare_settings  # noqa: E402

# Counts the pictures that it is given; what a judge makes of them is not the script's concern.
JUDGE = """
import json, pathlib, sys
data, fake_b, fake_a = map(pathlib.Path, sys.argv[1:])
figures = {'AtoB': len(list(fake_b.glob('*_fake_B.png'))), 'BtoA': len(list(fake_a.glob('*_fake_A.png')))}
tests = {'AtoB': len(list((data / 'testA').iterdir())), 'BtoA': len(list((data / 'testB').iterdir()))}
assert figures == tests, (figures, tests)
names = 'mmd', 'content', 'sharpness', 'taken_for_target'
print(json.dumps({f'{direction} {name}': count for direction, count in figures.items() for name in names}))
"""
LIST = """
--load_size=36 --crop_size=32 --pool_size=3 --num_threads=1  # for all
--netG=resnet_6blocks --ngf=2 --ndf=2
both 2
cut 2 --model=cut --pool_size=0 --num_patches=9 --netF_nc=8 --ema_decay=0.5
"""


@pytest.fixture
def compare(tmp_path):
    """Function of the list and further flags -> the lines of the table."""
    data = image_files.make_image_folders(tmp_path)
    (tmp_path / 'judge.py').write_text(JUDGE)

    def run(text, *flags):
        (tmp_path / 'list.txt').write_text(text)
        places = {'list': 'list.txt', 'judge': 'judge.py', 'output': 'out'}
        given = [f'--{name}={tmp_path / place}' for name, place in places.items()]
        settings = compare_settings.parse(['compare', *given, f'--dataroot={data}', *flags])
        assert compare_settings.main(settings) == 0
        return (tmp_path / 'out' / 'table.md').read_text().splitlines()[2:]

    return run


@pytest.mark.nightly
def test_what_is_done_is_not_done_again(compare, tmp_path, capsys):
    first = compare(LIST.replace('cut 2', '# cut 2'))
    assert [line.split(' | ')[:3] for line in first] == [['| both', 'AtoB', '2'], ['| both', 'BtoA', '2']]
    assert capsys.readouterr().out.startswith('both, AtoB: from step 0 to 2')
    rows = compare(LIST)
    assert rows[:2] == first
    assert [line.split(' | ')[0] for line in rows[2:]] == ['| cut'] * 2 + ['| cut, running mean'] * 2
    printed = capsys.readouterr().out
    assert 'cut, AtoB: from step 0 to 2' in printed and 'cut, BtoA: from step 0 to 2' in printed
    assert 'both, ' not in printed
    for name in ('both', 'cut', 'cut_BtoA'):
        assert checkpoints.find(tmp_path / 'out' / 'runs' / name, 'latest').step == 2
    # Of a training that was killed nobody knows how long it took.
    for path in (tmp_path / 'out' / 'judged' / 'both').glob('*.json'):
        path.unlink()
    assert compare(LIST)[:2] == [f'{line.rpartition(" | ")[0]} |  |' for line in first]
    # A training that was stopped goes on.
    again = compare(LIST.replace('both 2', 'both 3'))
    assert [line.split(' | ')[2] for line in again] == ['3', '3', *['2'] * 4]
    assert 'both, AtoB: from step 2 to 3' in capsys.readouterr().out
    assert checkpoints.find(tmp_path / 'out' / 'runs' / 'both', 'latest').step == 3


@pytest.mark.nightly
@pytest.mark.torch
def test_pytorchs_step_trains_too_and_judges_on_images_kept_aside(compare, tmp_path):
    pytest.importorskip('torch')
    rows = compare(LIST.split('both')[0] + 'torch 2\n', '--keep_aside=2')
    assert [line.split(' | ')[:3] for line in rows] == [['| torch', 'AtoB', '2'], ['| torch', 'BtoA', '2']]
    folders = (tmp_path / 'out' / 'data' / 'testA', tmp_path / 'out' / 'data' / 'trainA', tmp_path / 'data' / 'trainA')
    kept, used, originals = (sorted(path.name for path in folder.iterdir()) for folder in folders)
    assert kept and used and sorted(kept + used) == originals
    judged = json.loads((tmp_path / 'out' / 'judged' / 'torch' / 'last.json').read_text())
    assert judged['steps'] == 2 and judged['figures']['AtoB mmd'] == len(kept)


def test_the_table_has_what_is_judged(tmp_path):
    lines = [compare_settings.Line(name, 10, ()) for name in ('one', 'not yet')]
    folder = tmp_path / 'judged' / 'one'
    folder.mkdir(parents=True)
    names = 'mmd', 'content', 'sharpness', 'taken_for_target'
    figures = {f'{direction} {name}': 0.25 for direction in ('AtoB', 'BtoA') for name in names}
    judged = {
        'steps': 8,
        'flags': [],
        'seconds a step': {'AtoB': 0.5, 'BtoA': None},
        'figures': {**figures, 'BtoA mmd': 1.5},
    }
    (folder / 'average.json').write_text(json.dumps(judged))
    (folder / 'last.json').write_text(json.dumps({**judged, 'flags': ['--ngf=2']}))  # of an earlier list
    assert list(compare_settings.make_table(lines, tmp_path))[2:] == [
        '| one, running mean | AtoB | 8 | 0.250 | 0.250 | 0.250 | 0.250 | 0.50 |',
        '| one, running mean | BtoA | 8 | 1.500 | 0.250 | 0.250 | 0.250 |  |',
    ]


@pytest.mark.parametrize(
    'text, message',
    [
        ('one\n', "'one' is not a name, a number of steps and flags; correct it"),
        ('one 2\none 3\n', 'makes two runs of one name .one, one.; rename one'),
        ('one 2 --model=cut\none_BtoA 3\n', 'makes two runs of one name .one, one_BtoA, one_BtoA.; rename one'),
        ('one 2 --ngf=many\n', 'one: flag --ngf=many'),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, text, message):
    (tmp_path / 'list.txt').write_text(text)
    with pytest.raises(UserError, match=message):
        compare_settings.read_list(tmp_path / 'list.txt')

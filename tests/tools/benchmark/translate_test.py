"""The benchmark of translating goes from disk to disk, with the same pictures on both sides."""

import json

import numpy as np
import pytest
from benchmark import translate
from PIL import Image

from tests.helpers import program

TOOL = str(program.ROOT / 'tools' / 'benchmark.py')
SMALL = ('--netG=resnet_6blocks', '--ngf=4', '--size=64', '--images=2', '--repeats=1')


def run(*flags):
    status, output, error = program.run_python(TOOL, 'translate', *SMALL, *flags)
    assert status == 0, error
    return json.loads(output)


@pytest.mark.slow
@pytest.mark.parametrize('kinds', ['float32', pytest.param('float32,bfloat16', marks=pytest.mark.nightly)])
def test_ours_is_the_program_on_a_run_of_its_own(kinds):
    result = run(f'--kinds={kinds}', '--noprograms')
    assert list(result['images']) == kinds.split(',') and result['ratios'] == result['mean_difference'] == {}
    for row in result['images'].values():
        assert 0 < row['least'] <= row['seconds'] <= row['most'] and row['peak_bytes'] > 100e6
    assert 'programs' not in result and 'steady state' in result['meaning']


@pytest.mark.torch
@pytest.mark.nightly
@pytest.mark.slow
def test_beside_torch_pictures_are_the_same():
    kinds = ['float32', 'torch', 'torch inference_mode channels_last', 'torch autocast']
    result = run(f'--kinds={",".join(kinds)}')
    assert list(result['images']) == kinds
    difference = result['mean_difference']
    assert difference['float32 / torch'] < 0.01 and difference['torch inference_mode channels_last / torch'] < 0.01
    assert 0.01 < difference['torch autocast / torch'] < 3
    seconds = {kind: row['seconds'] for kind, row in result['images'].items()}
    assert result['ratios']['image float32 / torch'] == pytest.approx(seconds['float32'] / seconds['torch'])
    best = min(seconds['torch'], seconds['torch inference_mode channels_last'])
    assert result['ratios']['image float32 / best torch'] == pytest.approx(seconds['float32'] / best)
    for kind in kinds:  # the start of Python and the imports are in it
        assert result['programs'][kind]['seconds'] > seconds[kind]


def test_mean_difference_is_in_levels(tmp_path):
    for name, levels in (('some', (10, 20)), ('others', (13, 21))):
        (tmp_path / name).mkdir()
        for i, level in enumerate(levels):
            Image.fromarray(np.full((4, 4, 3), level, np.uint8)).save(tmp_path / name / f'{i}.png')
    assert translate.mean_difference(tmp_path / 'some', tmp_path / 'others') == 2.0

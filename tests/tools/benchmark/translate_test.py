"""The benchmark of translating goes from disk to disk, with the same pictures on both sides."""

import json

import numpy as np
import pytest
from benchmark import settings, translate
from PIL import Image

from cyclegan_tf.errors import UserError
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
    assert list(result['images']) == kinds.split(',') and result['ratios'] == {}
    assert list(result['mean_difference']) == ([] if kinds == 'float32' else ['bfloat16 / float32'])
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


@pytest.mark.slow
@pytest.mark.parametrize(
    'programs, others',
    [
        (False, []),
        pytest.param(True, ['litert int8', 'litert int8 convolutions'], marks=pytest.mark.nightly),
    ],
)
def test_exported_models_are_measured_beside_ours(programs, others):
    kinds = ['float32', 'onnxruntime', 'onnxruntime int8', *others]
    small = ('--size=48x32', '--images=1', '--calibration=2', f'--programs={programs}')
    result = run(*small, f'--kinds={",".join(kinds)}')
    rows, difference = result['images'], result['mean_difference']
    assert list(rows) == kinds and (not programs or list(result['programs'])[1:-1] == kinds)
    assert rows['onnxruntime']['runtime'].startswith('onnxruntime 1.')
    assert difference['onnxruntime / float32'] < 0.01
    for kind in kinds[2:]:
        assert rows[kind]['file_bytes'] < rows['onnxruntime']['file_bytes']
        assert 0.1 < difference[f'{kind} / float32'] < 10
        share = result['mean_difference_of_range'][f'{kind} / float32']
        assert share == pytest.approx(difference[f'{kind} / float32'] / 255)
    ratio = rows['onnxruntime']['seconds'] / rows['float32']['seconds']
    assert result['ratios']['image onnxruntime / float32'] == pytest.approx(ratio)
    # Without TensorFlow in the process.
    assert rows['onnxruntime']['peak_bytes'] < rows['float32']['peak_bytes'] - 200e6


def test_pictures_have_the_size_that_is_asked_for(tmp_path):
    translate.make_images(tmp_path / 'images', 2, 48, 32)
    pictures = [Image.open(path) for path in sorted((tmp_path / 'images').iterdir())]
    assert [picture.size for picture in pictures] == [(48, 32)] * 2
    assert np.any(np.asarray(pictures[0]) != np.asarray(pictures[1]))


@pytest.mark.parametrize('value, expected', [('256', (256, 256)), ('1024x768', (1024, 768))])
def test_sizes_are_sides_or_width_and_height(value, expected):
    assert settings.image_size(value) == expected


@pytest.mark.parametrize(
    'value, message',
    [
        ('large', "`size` .'large'. is not a side or 'WIDTHxHEIGHT'"),
        ('64x', "`size` .'64x'. is not a side or 'WIDTHxHEIGHT'"),
        ('64x30', '`size` .64x30. is not a multiple of 4'),
        ('30x64', '`size` .30x64. is not a multiple of 4'),
        ('4', '`size` .4. is not a multiple of 4 and at least 8'),
    ],
)
def test_other_sizes_are_refused(value, message):
    with pytest.raises(UserError, match=message):
        settings.TranslateConfig(size=value)


def test_exported_models_are_measured_only_if_they_are_asked_for():
    usual = settings.TranslateConfig().chosen()
    assert usual == [*settings.OUR_TRANSLATIONS, *settings.THEIR_TRANSLATIONS]
    assert settings.TranslateConfig(kinds='torch,openvino int8').chosen() == ['torch', 'openvino int8']

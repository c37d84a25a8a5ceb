"""A run on images with a range of values, from folders to results: trained, resumed, translated, measured, exported."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image

import cyclegan_tf
from cyclegan_tf.data import decode
from cyclegan_tf.data.levels import float_to_values, values_to_float
from cyclegan_tf.data.pictures import ReadOptions
from cyclegan_tf.errors import UserError
from tests.helpers import program

CT, MR = (-1024.0, 3071.0), (0.0, 900.0)
FLAGS = ('--input_nc=1', '--output_nc=1', '--value_range=-1024,3071', '--value_range_B=0,900', '--name=run')


def scan(i, value_range, dtype):
    """A slice with soft shapes that fill the range."""
    rows, columns = np.mgrid[:40, :48] / 10
    soft = np.sin(rows + i) * np.cos(columns - i)
    return float_to_values(soft / np.abs(soft).max(), value_range, dtype)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """CT in int16 and MR in float32, one of them an array's file."""
    root = tmp_path_factory.mktemp('scans')
    for phase, count in (('train', 4), ('test', 3)):
        for domain in 'AB':
            (root / f'{phase}{domain}').mkdir()
        for i in range(count):
            tifffile.imwrite(root / f'{phase}A' / f'{i}.tif', scan(i, CT, np.int16))
            mr = scan(i, MR, np.float32)
            if i:
                tifffile.imwrite(root / f'{phase}B' / f'{i}.tif', mr)
            else:
                np.save(root / f'{phase}B' / f'{i}.npy', mr)
    return root


@pytest.fixture(scope='module')
def run(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp('runs')
    flags = (f'--dataroot={data}', *FLAGS, '--n_epochs=1', '--n_epochs_decay=0', '--save_epoch_freq=1')
    assert program.run_training(directory, *flags, '--augment=light') == 0
    return directory


def test_the_look_says_what_values_there_are(data, tmp_path, capsys):
    flags = ('--n_epochs=1', '--n_epochs_decay=0', '--cache=disk', f'--cache_dir={tmp_path / "cache"}')
    program.run_training(tmp_path, f'--dataroot={data}', *FLAGS, *flags)
    output = capsys.readouterr().out
    assert re.search('Domain A.*4 images, 48x40, gray, 16 bit signed, TIFF', output)
    assert re.search(r'Domain B.*gray, 32 bit floating point, TIFF \(3\) and NPY \(1\)', output)
    assert 'Values go from -1024 to 3071.' in output
    (pixels, other) = (tmp_path / 'cache' / 'images').glob('*.pixels')
    assert pixels.stat().st_size == other.stat().st_size == 4 * 36 * 36 * 4  # images of float32
    with pytest.raises(UserError) as caught:
        program.run_training(tmp_path / 'other', f'--dataroot={data}', '--input_nc=1', '--output_nc=1', '--name=run')
    assert str(caught.value).count('train with --value_range=LOW,HIGH, which become black and white') == 7


def test_the_run_keeps_its_ranges_and_continues(data, run, tmp_path, capsys):
    stored = (run / 'run' / 'flags.cfg').read_text()
    assert '--value_range=-1024,3071\n' in stored and '--value_range_B=0,900\n' in stored
    assert program.run_training(run, '--name=run', '--continue_train', '--n_epochs=2', small=False) == 0
    with pytest.raises(UserError, match='`value_range` .0,1. is not what the run was trained with .-1024,3071.'):
        program.run_training(run, '--name=run', '--continue_train', '--value_range=0,1', small=False)


@pytest.mark.parametrize(
    'flags, dtype',
    [((), 'int16'), (('--output_depth=float',), 'float32'), (('--output_depth=16',), 'uint16'),
     (('--output_depth=8',), 'uint8'), (('--output_format=tiff', '--output_depth=8'), 'uint8')],
)  # fmt: skip
def test_results_have_the_values_of_the_other_domain(data, run, tmp_path, flags, dtype):
    flags = ('--name=run', f'--input={data}/testA', f'--output={tmp_path}', *flags)
    assert program.run_translation(run, *flags) == 0
    is_png = dtype in ('uint8', 'uint16') and '--output_format=tiff' not in flags
    (path, *_) = sorted(tmp_path.glob('*.png' if is_png else '*.tif'))
    found = decode.to_array(decode.decode(path.read_bytes(), ReadOptions((1,), value_range=MR)))
    assert found.dtype == dtype and found.shape == (40, 48, 1)
    translator = cyclegan_tf.load(run / 'run')
    image = tifffile.imread(data / 'testA' / '0.tif')[..., None]
    expected = translator.translate_floats(values_to_float(image, CT)[None], 'AtoB')[0]
    expected = np.round((expected + 1) * 127.5) if dtype == 'uint8' else float_to_values(expected, MR, dtype)
    # Alone, an image is rounded otherwise than in a batch.
    near = {'atol': 1e-3} if dtype == 'float32' else {'atol': 1}
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=0, **near)
    assert (found == expected).mean() > 0.99 or dtype == 'float32'
    if dtype not in ('uint8', 'float32'):
        alone = translator.translate(image, 'AtoB', np.dtype(dtype))
        np.testing.assert_allclose(alone.astype(np.float64), found, rtol=0, **near)


def test_python_translates_numbers_of_the_range(data, run):
    translator = cyclegan_tf.load(run / 'run')
    assert translator.value_ranges('AtoB') == (CT, MR) and translator.value_ranges('BtoA') == (MR, CT)
    image = tifffile.imread(data / 'testA' / '0.tif')[..., None]
    result = translator.translate(image.astype(np.float64))
    assert result.dtype == np.float64 and 0 <= result.min() < result.max() <= 900
    assert translator.translate(image).dtype == np.int16
    assert translator.translate(image.astype(np.uint16) % 900, 'BtoA').dtype == np.float32  # CT has negative numbers
    assert translator.translate(np.zeros((0, 8, 8, 1), np.int16)).shape == (0, 8, 8, 1)
    with pytest.raises(UserError, match='dtype uint8 does not hold values from 0 to 900; set it to float32'):
        translator.translate(image, 'AtoB', np.uint8)
    with pytest.raises(UserError, match='images of dtype complex128 are not one of: integers, floats'):
        translator.translate(image.astype(complex))


def test_arrays_of_numpys_integers_and_of_the_other_byte_order_are_translated(run, tmp_path):
    (tmp_path / 'in').mkdir()
    for name, dtype in (('wide', np.int64), ('big', '>i2')):
        np.save(tmp_path / 'in' / f'{name}.npy', scan(1, CT, np.int16).astype(dtype))
    flags = ('--name=run', f'--input={tmp_path / "in"}', '--direction=AtoB', f'--output={tmp_path / "out"}')
    assert program.run_translation(run, *flags) == 0
    wide, big = (decode.to_array(Image.open(tmp_path / 'out' / f'{name}.png')) if (
        tmp_path / 'out' / f'{name}.png').exists() else tifffile.imread(tmp_path / 'out' / f'{name}.tif')
        for name in ('wide', 'big'))  # fmt: skip
    np.testing.assert_array_equal(wide.squeeze(), big.squeeze())


def test_the_results_page_shows_gray_pictures_beside_the_values(data, run, tmp_path, capsys):
    flags = ('--name=run', f'--results_dir={tmp_path}', '--load_size=64', '--pairs=yes')
    assert program.run_translation(run, *flags) == 0
    images = tmp_path / 'run' / 'test_latest' / 'images'
    assert len(list(images.glob('*.png'))) == len(list(images.glob('*.tif'))) == 2 * 3 * 4
    values, shown = tifffile.imread(images / '1_real_A.tif'), Image.open(images / '1_real_A.png')
    assert values.dtype == np.int16 and values.min() < -900 and values.max() > 2900 and shown.mode == 'L'
    np.testing.assert_allclose(np.asarray(shown), (values + 1024) * (255 / 4095), atol=0.6)
    assert tifffile.imread(images / '1_fake_A.tif').dtype == np.float32  # as the image that it was made from
    page = (images.parent / 'index.html').read_text()
    assert '<a href="images/1_real_A.tif">TIFF</a>' in page
    assert 'compared as pairs: --pairs=yes' in capsys.readouterr().out


def test_it_is_measured_on_its_range(run, tmp_path):
    flags = ('--name=run', f'--results_dir={tmp_path}', '--pairs=yes')
    assert program.run_evaluation(run, *flags) == 0
    found = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    assert found['untranslated']['AtoB']['psnr'] > 20 and found['run']['value_range'] == '-1024,3071'


def test_its_export_takes_and_returns_values(data, run, tmp_path):
    assert program.run_export(run, '--name=run', f'--output={tmp_path}') == 0
    loaded = tf.saved_model.load(str(tmp_path / 'run_AtoB' / '1'))
    assert set(loaded.signatures) == {'translate_floats', 'translate_values'}
    image = tifffile.imread(data / 'testA' / '0.tif')[None, ..., None]
    answer = loaded.signatures['translate_values'](values=tf.constant(image.astype(np.float32)))['values']
    expected = cyclegan_tf.load(run / 'run').translate(image.astype(np.float32), 'AtoB')
    np.testing.assert_allclose(answer, expected, atol=0.01)
    card = (tmp_path / 'run_AtoB' / '1' / 'MODEL.md').read_text()
    for words in (
        '| range of the input values, which are -1 and 1 for the network | -1024 to 3071 |',
        '| range of the output values, which are -1 and 1 for the network | 0 to 900 |',
        '`values`: float32 [batch, height, width, 1] from -1024 to 3071',
        "signatures['translate_values']",
    ):
        assert words in card, words
    assert 'serving_default' not in card and 'JPEG' not in card


def test_values_that_the_range_does_not_hold_are_said(data, tmp_path, capsys):
    flags = (f'--dataroot={data}', '--input_nc=1', '--output_nc=1', '--value_range=0,100000', '--name=run')
    program.run_training(tmp_path, *flags, '--n_epochs=1', '--n_epochs_decay=0')
    output = capsys.readouterr().out
    assert 'Values go from -1024 to 3071; those beyond the range 0,100000 are clipped.' in output
    assert 'Values go from 0 to 900, which is 1% of the range 0,100000.' in output


def test_dark_images_of_sixteen_bits_are_named_with_the_flag(tmp_path, capsys):
    for part in ('trainA', 'trainB'):
        (tmp_path / 'data' / part).mkdir(parents=True)
        tifffile.imwrite(tmp_path / 'data' / part / 'x.tif', scan(1, (0.0, 4000.0), np.uint16))
    flags = (f'--dataroot={tmp_path / "data"}', '--input_nc=1', '--output_nc=1', '--name=run')
    program.run_training(tmp_path, *flags, '--n_epochs=1', '--n_epochs_decay=0')
    output = capsys.readouterr().out
    assert re.search(
        r'Values go from \d+ to 3,999 of 65,535, which makes the images dark; --value_range=0,4095 maps these', output
    ), output
    assert '--value_range_B=0,4095 maps these to black and white.' in output  # of domain B

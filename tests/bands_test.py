"""Runs on images of five bands and of pages, and what translated files keep: from folders to results."""

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image

from cyclegan_tf.errors import UserError
from tests.helpers import program
from tests.helpers.image_files import encode, picture

ONE_EPOCH = ('--n_epochs=1', '--n_epochs_decay=0', '--name=run')


def make(root, channels, names='ab'):
    """A data set of numbered TIFFs of this many bands."""
    for part in ('trainA', 'trainB', 'testA', 'testB'):
        (root / part).mkdir(parents=True)
        for i, name in enumerate(names):
            pixels = np.random.default_rng(i).integers(0, 256, (40, 48, channels), np.uint8)
            tifffile.imwrite(root / part / f'{name}.tif', pixels, photometric='minisblack', planarconfig='contig')
    return root


@pytest.fixture(scope='module')
def five(tmp_path_factory):
    """A run on five bands: (data, checkpoints)."""
    root = tmp_path_factory.mktemp('five')
    data = make(root / 'data', 5)
    program.run_training(root, f'--dataroot={data}', '--input_nc=5', '--output_nc=5', *ONE_EPOCH)
    return data, root


def test_five_bands_are_translated_to_five_bands(five, tmp_path):
    data, runs = five
    flags = ('--name=run', f'--input={data}/testA', f'--output={tmp_path}')
    assert program.run_translation(runs, *flags) == 0
    found = tifffile.imread(tmp_path / 'a.tif')
    assert found.shape == (40, 48, 5) and found.dtype == np.uint8 and found.std(axis=(0, 1)).min() > 0
    with pytest.raises(UserError, match='2 images could not be translated, see above.$'):
        program.run_translation(runs, *flags, '--output_format=png')


def test_the_page_of_five_bands_shows_three(five, tmp_path):
    data, runs = five
    assert program.run_translation(runs, '--name=run', f'--results_dir={tmp_path}') == 0
    images = tmp_path / 'run' / 'test_latest' / 'images'
    values = tifffile.imread(images / 'a_fake_B.tif')
    assert values.shape == (32, 32, 5)
    np.testing.assert_array_equal(np.asarray(Image.open(images / 'a_fake_B.png')), values[..., :3])


def test_five_bands_are_exported_as_floats_alone(five, tmp_path):
    assert program.run_export(five[1], '--name=run', f'--output={tmp_path}') == 0
    loaded = tf.saved_model.load(str(tmp_path / 'run_AtoB' / '1'))
    assert set(loaded.signatures) == {'translate_floats'}
    assert loaded.signatures['translate_floats'](images=tf.zeros([1, 8, 8, 5]))['images'].shape == (1, 8, 8, 5)
    assert 'translate_floats' in (card := (tmp_path / 'run_AtoB' / '1' / 'MODEL.md').read_text())
    assert 'serving_default' not in card


def test_near_infrared_is_a_band_and_no_alpha(tmp_path):
    data = make(tmp_path / 'data', 4)
    program.run_training(tmp_path, f'--dataroot={data}', '--input_nc=4', '--output_nc=4', *ONE_EPOCH)
    program.run_translation(tmp_path, '--name=run', f'--input={data}/testA', f'--output={tmp_path / "out"}')
    assert tifffile.imread(tmp_path / 'out' / 'a.tif').shape == (40, 48, 4)
    Image.fromarray(picture()).convert('RGBA').save(tmp_path / 'x.png')
    program.run_translation(tmp_path, '--name=run', f'--input={tmp_path}/x.png', f'--output={tmp_path / "out"}')
    assert Image.open(tmp_path / 'out' / 'x.png').mode == 'RGBA'


def test_pages_are_said_and_channels_where_asked_for(tmp_path, capsys):
    for part in ('trainA', 'trainB'):
        (tmp_path / 'data' / part).mkdir(parents=True)
        pages = np.random.default_rng(0).integers(0, 65536, (3, 40, 48), np.uint16)
        for name in 'ab':
            tifffile.imwrite(tmp_path / 'data' / part / f'{name}.tif', pages, photometric='minisblack')
    flags = (f'--dataroot={tmp_path / "data"}', *ONE_EPOCH)
    program.run_training(tmp_path / 'largest', *flags)
    output = capsys.readouterr().out
    assert 'a.tif: 3 pages; page 1 is used, and 1 more like it.' in output and ', gray, 16 bit' in output
    program.run_training(tmp_path / 'channels', *flags, '--tiff_pages=channels')
    assert ', colour, 16 bit' in capsys.readouterr().out


# ------------------------------------------------------------------------------------------- what goes along to results
@pytest.fixture(scope='module')
def colour(tmp_path_factory):
    root = tmp_path_factory.mktemp('colour')
    program.run_training(root, '--dataroot=demo', '--max_dataset_size=2', *ONE_EPOCH)
    return root


def test_profile_and_resolution_go_along(colour, tmp_path):
    import imagecodecs

    adobe = imagecodecs.cms_profile('adobergb')
    (tmp_path / 'p.png').write_bytes(encode(picture(), 'PNG', icc_profile=adobe, dpi=(300, 300)))
    flags = ('--name=run', f'--input={tmp_path}/p.png')
    program.run_translation(colour, *flags, f'--output={tmp_path / "keep"}')
    kept = Image.open(tmp_path / 'keep' / 'p.png')
    assert kept.info['icc_profile'] == adobe and round(kept.info['dpi'][0]) == 300
    program.run_translation(colour, *flags, f'--output={tmp_path / "srgb"}', '--color_profile=srgb')
    converted = Image.open(tmp_path / 'srgb' / 'p.png')
    assert 'icc_profile' not in converted.info
    assert np.abs(np.asarray(kept).astype(int) - np.asarray(converted)).max() > 0
    program.run_translation(colour, *flags, f'--output={tmp_path / "tiff"}', '--output_format=tiff', '--resize=96x96')
    with tifffile.TiffFile(tmp_path / 'tiff' / 'p.tif') as file:
        page = file.pages[0]
        numerator, denominator = page.tags['XResolution'].value
        assert page.tags[34675].value == adobe and numerator / denominator == pytest.approx(600, abs=0.1)


def test_places_on_the_map_go_along(colour, tmp_path):
    scale = (33550, 12, 3, (10.0, 10.0, 0.0), True)
    text = (34737, 's', 0, 'WGS 84|', True)
    tifffile.imwrite(tmp_path / 'g.tif', picture(), photometric='rgb', extratags=[scale, text], compression='zlib')
    flags = ('--name=run', f'--input={tmp_path}/g.tif', '--output_format=tiff')
    program.run_translation(colour, *flags, f'--output={tmp_path / "out"}')
    with tifffile.TiffFile(tmp_path / 'out' / 'g.tif') as file:
        assert file.pages[0].tags[33550].value == (10.0, 10.0, 0.0) and file.pages[0].tags[34737].value == 'WGS 84|'
        assert file.pages[0].asarray().shape == (48, 48, 3)


def test_a_large_tiff_is_translated_row_by_row_to_the_same_pixels(colour, tmp_path, monkeypatch):
    from cyclegan_tf.translation import files

    pixels = np.tile(picture(64), (12, 7, 1))  # larger than a tile with its margins
    alpha = np.tile(picture(64)[..., :1], (12, 7, 1))
    for name, array in (('c', pixels), ('a', np.dstack([pixels, alpha]))):
        options = {'extrasamples': ['unassalpha']} if name == 'a' else {}
        options |= {'photometric': 'rgb', 'compression': 'zlib', 'rowsperstrip': 32}
        tifffile.imwrite(tmp_path / f'{name}.tif', array, **options)
        flags = ('--name=run', f'--input={tmp_path}/{name}.tif', '--max_pixels=210000', '--output_format=tiff')
        program.run_translation(colour, *flags, f'--output={tmp_path / "whole"}')
        monkeypatch.setattr(files, '_LARGE', 10_000)
        program.run_translation(colour, *flags, f'--output={tmp_path / "rows"}')
        monkeypatch.undo()
        whole, rows = (tifffile.imread(tmp_path / way / f'{name}.tif').astype(int) for way in ('whole', 'rows'))
        assert whole.shape == rows.shape == array.shape
        assert np.abs(whole - rows).max() <= 1 and (whole == rows).mean() > 0.999
        with tifffile.TiffFile(tmp_path / 'rows' / f'{name}.tif') as file:
            assert file.pages[0].is_tiled


def test_large_tiffs_of_other_contrast_do_not_mix(colour, tmp_path, monkeypatch):
    """They share the network, which keeps the statistics of one image."""
    from cyclegan_tf.translation import files

    monkeypatch.setattr(files, '_LARGE', 10_000)
    results = {}
    for name, pixels in (('a', picture(64)), ('b', picture(64) // 8)):
        (tmp_path / name).mkdir()
        for folder in (tmp_path, tmp_path / name):
            tifffile.imwrite(folder / f'{name}.tif', np.tile(pixels, (12, 8, 1)), photometric='rgb', rowsperstrip=32)
    flags = ('--name=run', '--max_pixels=210000')
    for place in ('*.tif', 'a', 'b'):
        program.run_translation(
            colour, *flags, f'--input={tmp_path}/{place}', f'--output={tmp_path / "out" / place[0]}'
        )
        results[place[0]] = {path.name: tifffile.imread(path) for path in (tmp_path / 'out' / place[0]).iterdir()}
    for name in 'ab':
        np.testing.assert_array_equal(results['*'][f'{name}.tif'], results[name][f'{name}.tif'])


def test_odd_places_on_the_map_are_left_out(colour, tmp_path):
    tags = [(34737, 's', 0, 'Gauß-Krüger|'.encode(), True), (33550, 12, 1, 10.0, True)]
    tifffile.imwrite(tmp_path / 'g.tif', picture(), photometric='rgb', extratags=tags)
    flags = ('--name=run', f'--input={tmp_path}/g.tif', '--output_format=tiff', '--resize=24x24')
    program.run_translation(colour, *flags, f'--output={tmp_path / "out"}')
    with tifffile.TiffFile(tmp_path / 'out' / 'g.tif') as file:
        assert 33550 not in file.pages[0].tags and file.pages[0].asarray().shape == (24, 24, 3)


def test_a_damaged_large_tiff_is_one_images_problem(colour, tmp_path, monkeypatch, capsys):
    from cyclegan_tf.translation import files

    monkeypatch.setattr(files, '_LARGE', 10_000)
    for name in 'ab':
        tifffile.imwrite(tmp_path / f'{name}.tif', np.tile(picture(64), (8, 8, 1)), photometric='rgb', rowsperstrip=32,
                         compression='zlib')  # fmt: skip
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / 'a.tif').write_bytes(data)
    flags = ('--name=run', f'--input={tmp_path}/*.tif', f'--output={tmp_path / "out"}', '--max_pixels=210000')
    with pytest.raises(UserError, match='1 image could not be translated, see above; all others were'):
        program.run_translation(colour, *flags)
    assert 'a.tif: ' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['b.tif']


def test_a_long_name_is_one_images_problem_in_a_test_set(colour, tmp_path, capsys):
    for domain in 'AB':
        (tmp_path / f'test{domain}').mkdir()
        for name in ('short', 'n' * 245):
            Image.fromarray(picture()).save(tmp_path / f'test{domain}' / f'{name}.png')
    with pytest.raises(UserError, match='2 images could not be translated, see above; all others were'):
        program.run_translation(colour, '--name=run', f'--dataroot={tmp_path}', f'--results_dir={tmp_path}')
    assert capsys.readouterr().err.count('cannot be written (File name too long)') == 2
    assert len(list((tmp_path / 'run' / 'test_latest' / 'images').iterdir())) == 2 * 4

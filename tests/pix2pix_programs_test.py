"""pix2pix and CUT through the programs: pairs and stacked inputs from folders to results; testing as the authors do."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import cyclegan_tf
from cyclegan_tf.errors import UserError
from tests.helpers import program
from tests.helpers.image_files import picture
from tests.helpers.served_models import make_run, photograph

SMALL = ('--load_size=36', '--crop_size=32', '--num_threads=1', '--n_epochs=2', '--n_epochs_decay=0')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The directory of a run of pix2pix with a U-Net, batch norm and dropout."""
    place = tmp_path_factory.mktemp('pix2pix')
    make_run(place, model='pix2pix', netG='unet_128', ngf=4, load_size=128, crop_size=128, init_gain=0.3, seed=3)
    return place


def translate(run, tmp_path, images, *flags, output='out'):
    """The results of --input by name."""
    folder = tmp_path / 'in'
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / f'{name}.png')
    arguments = ('--name=run', f'--input={folder}', f'--output={tmp_path / output}', *flags)
    assert program.run_translation(run, *arguments) == 0
    return {path.stem: np.asarray(Image.open(path)).astype(int) for path in (tmp_path / output).glob('*.png')}


@pytest.mark.slow
def test_batches_and_repeats_change_nothing_and_seeds_and_names_do(run, tmp_path, capsys):
    images = {name: photograph(128, 128, name) for name in ('chelsea', 'coffee', 'rocket')}
    one = translate(run, tmp_path, images, '--batch_size=1', output='one')
    assert "Translating with each image's own statistics in batch norm and dropout (seed 3); --eval turns" in (
        capsys.readouterr().out
    )
    three = translate(run, tmp_path, images, '--batch_size=3', output='three')
    for name in images:
        assert np.abs(one[name] - three[name]).max() <= 1 and one[name].std() > 3
    (tmp_path / 'in' / 'rocket.png').unlink()  # another share of the images
    some = translate(run, tmp_path, {}, output='some')
    assert np.abs(some['coffee'] - one['coffee']).max() <= 1
    seeded = translate(run, tmp_path, {}, '--seed=4', output='seeded')
    assert np.abs(seeded['coffee'] - one['coffee']).max() > 5
    renamed = translate(run, tmp_path, {'other': images['coffee']}, output='renamed')
    assert np.abs(renamed['other'] - one['coffee']).max() > 5
    without = translate(run, tmp_path, {}, '--notest_dropout', output='without')
    assert np.abs(without['other'] - without['coffee']).max() == 0

    loaded = cyclegan_tf.load(run / 'run')
    names = ['coffee', 'chelsea']
    batch = loaded.translate(np.stack([images[name] for name in names]), names=names)
    assert all(np.abs(x.astype(int) - one[name]).max() <= 1 for x, name in zip(batch, names))


def test_eval_is_what_exports_do(run, tmp_path):
    image = photograph(128, 128)
    found = translate(run, tmp_path, {'a': image}, '--eval')['a']
    assert program.run_export(run, '--name=run', f'--output={tmp_path / "models"}', '--nowarmup') == 0
    model = tf.saved_model.load(str(tmp_path / 'models' / 'run_AtoB' / '1'))
    served = model.signatures['translate_images'](images=tf.constant(image[None]))['images'].numpy()[0]
    assert np.abs(served.astype(int) - found).max() <= 1
    own = translate(run, tmp_path, {'a': image}, output='own')['a']
    assert np.abs(own - found).max() > 5
    card = (tmp_path / 'models' / 'run_AtoB' / '1' / 'MODEL.md').read_text()
    assert re.search(
        r'\| outside training \| running statistics of batch norm and no dropout, as .* with --eval \|', card
    )
    loaded = cyclegan_tf.load(run / 'run', batch_statistics=False, test_dropout=False)
    assert np.abs(loaded.translate(image).astype(int) - found).max() <= 1 and loaded.is_as_exported
    assert loaded.test_time == 'running statistics in batch norm and no dropout'


@pytest.mark.slow
def test_tiles_have_the_dropout_of_the_whole_and_one_set_of_statistics(run):
    image = np.tile(photograph(256, 256), (4, 4, 1))[:900, :1000] / np.float32(127.5) - 1

    def results(batch_statistics, test_dropout):
        how = dict(batch_statistics=batch_statistics, test_dropout=test_dropout)
        whole = cyclegan_tf.load(run / 'run', **how)
        tiled = cyclegan_tf.load(run / 'run', max_pixels=whole.least_max_pixels, **how)
        return [loaded.translate(image).astype(float) for loaded in (whole, tiled)]

    def difference(one, other):
        return np.abs(one - other).mean()

    # A U-Net sees farther than a tile's margins, so tiles differ from the whole, but no more with dropout than without.
    plain, dropped = (results(False, test_dropout) for test_dropout in (False, True))
    assert difference(*dropped) < 2 * difference(*plain)
    assert difference(*dropped) < 0.5 * difference(plain[0], dropped[0])
    # All tiles have one set of statistics, that of a reduced view.
    whole, tiled = results(True, False)
    assert difference(whole, tiled) < 0.5 * difference(whole, plain[0])


def test_statistics_are_of_the_image_and_not_of_its_padding(run):
    loaded = cyclegan_tf.load(run / 'run', test_dropout=False)
    image = photograph(128, 128)
    narrow = loaded.translate(image[:, :72])
    # What is right of the image is mirrored from it, whatever it was.
    np.testing.assert_array_equal(narrow, loaded.translate(np.ascontiguousarray(image[:, :72])))
    flat = np.concatenate([image[:, :64], np.zeros_like(image[:, 64:])], axis=1)
    assert np.abs(loaded.translate(flat).astype(int)[:, :32] - loaded.translate(image[:, :64])[:, :32]).mean() > 1


# --------------------------------------------------------------------------------------------------------- the data
@pytest.fixture(scope='module')
def stacked(tmp_path_factory):
    """A run on pairs with stacked inputs, trained a little; and its data."""
    place = tmp_path_factory.mktemp('stacked')
    for part in ('train', 'test'):
        for name in ('A', 'A2', 'B'):
            (place / 'data' / f'{part}{name}').mkdir(parents=True)
        for i in range(4):
            pixels = picture(40 + i)
            for name, array in (('A', pixels), ('A2', pixels[..., 0]), ('B', 255 - pixels)):
                Image.fromarray(array).save(place / 'data' / f'{part}{name}' / f'{i}.png')
    (place / 'data' / 'testA2' / '3.png').unlink()
    flags = ('--model=tiny_pix2pix', f'--dataroot={place / "data"}', '--name=run', '--input_folders=A:3,A2:1', *SMALL)
    assert program.run_training(place, *flags, '--eval_freq=1', '--keep_best=psnr', small=False) == 0
    return place


def test_training_says_which_images_have_no_counterpart_and_measures_pairs(stacked, tmp_path, capsys):
    seen = program.events(stacked / 'run')
    assert {tag for tag in seen if tag.startswith('eval/')} == {
        'eval/psnr_AtoB', 'eval/ssim_AtoB', 'eval/edges_AtoB'
    }  # fmt: skip
    assert {tag for tag in seen if tag.startswith('loss/')} == {
        'loss/G_GAN', 'loss/G_L1', 'loss/D_real', 'loss/D_fake'
    }  # fmt: skip
    assert program.run_evaluation(stacked, '--name=run', f'--results_dir={tmp_path}') == 0
    captured = capsys.readouterr()
    assert 'they have the same name, and dataset_mode is paired' in captured.err
    assert captured.err.count('have no counterpart') + captured.err.count('has no counterpart') == 2
    found = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    assert set(found['checkpoints'][0]['results']['AtoB']) == {'images', 'pairs', 'psnr', 'ssim', 'edges'}
    assert found['checkpoints'][0]['results']['AtoB']['pairs'] == 3


def test_stacked_test_images_are_translated_onto_the_page(stacked, tmp_path):
    assert program.run_translation(stacked, '--name=run', f'--results_dir={tmp_path}') == 0
    results = tmp_path / 'run' / 'test_latest'
    assert sorted(path.name for path in (results / 'images').glob('2_*')) == [
        '2_fake_B.png', '2_real_A.png', '2_real_A.tif', '2_true_B.png'
    ]  # fmt: skip
    assert 'PSNR' in (results / 'index.html').read_text()


def test_files_of_several_places_are_matched_by_name(stacked, tmp_path):
    data = stacked / 'data'
    places = f'{data / "testA"},{data / "testA2"}'
    assert program.run_translation(stacked, '--name=run', f'--input={places}', f'--output={tmp_path / "out"}') == 0
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['0.png', '1.png', '2.png']
    array = np.concatenate([picture(41), picture(41)[..., :1]], axis=-1)
    np.testing.assert_array_equal(
        cyclegan_tf.load(stacked / 'run').translate(array, names=['1']),
        np.asarray(Image.open(tmp_path / 'out' / '1.png')),
    )
    with pytest.raises(UserError, match=r'`input` .* is not 2 places separated by commas, one for each folder of this'):
        program.run_translation(stacked, '--name=run', f'--input={data / "testA"}', f'--output={tmp_path}')
    with pytest.raises(UserError, match='give them as --input=FOLDER,FOLDER'):
        program.run_translation(
            stacked, '--name=run', '--dataset_mode=single', f'--dataroot={data}', '--direction=AtoB',
            f'--results_dir={tmp_path}',
        )  # fmt: skip


def test_results_never_overwrite_what_is_stacked(stacked, tmp_path):
    for name in ('testA', 'testA2'):
        shutil.copytree(stacked / 'data' / name, tmp_path / name)
    places = f'{tmp_path / "testA"},{tmp_path / "testA2"}'
    for output in ('testA', 'testA2'):
        with pytest.raises(UserError, match='`output` .* would overwrite .*, an input; set it to another folder'):
            program.run_translation(stacked, '--name=run', f'--input={places}', f'--output={tmp_path / output}')


def test_exports_take_the_stacked_channels(stacked, tmp_path):
    assert program.run_export(stacked, '--name=run', f'--output={tmp_path}', '--nowarmup') == 0
    model = tf.saved_model.load(str(tmp_path / 'run_AtoB' / '1'))
    array = np.concatenate([picture(41), picture(41)[..., :1]], axis=-1)
    served = model.signatures['translate_floats'](images=tf.constant(array[None] / np.float32(127.5) - 1))['images']
    found = cyclegan_tf.load(stacked / 'run', test_dropout=False).translate(array / np.float32(127.5) - 1)
    np.testing.assert_allclose(served[0], found, atol=1e-5)
    # A picture with alpha is no colour with depth.
    assert set(model.signatures) == {'translate_floats'}
    with pytest.raises(UserError, match='images of 3 channels do not fit a run that stacks 4 of several images'):
        cyclegan_tf.load(stacked / 'run').translate(picture(40))


def test_the_other_direction_of_pairs(tmp_path):
    flags = (
        '--model=tiny_pix2pix',
        '--dataroot=demo',
        '--name=run',
        '--direction=BtoA',
        '--max_dataset_size=4',
        *SMALL,
    )
    assert program.run_training(tmp_path, *flags, small=False) == 0
    assert program.run_translation(tmp_path, '--name=run', f'--results_dir={tmp_path}', '--num_test=2') == 0
    names = {path.name for path in (tmp_path / 'run' / 'test_latest' / 'images').glob('astronaut*')}
    assert names == {'astronaut_real_B.png', 'astronaut_fake_A.png', 'astronaut_true_A.png'}


@pytest.mark.parametrize('model', ['tiny_cut', 'tiny_pix2pix'])
def test_images_of_many_sizes(tmp_path, model):
    for name in ('A', 'B'):
        (tmp_path / 'data' / f'train{name}').mkdir(parents=True)
        for i in range(3):
            shift = i if model == 'tiny_pix2pix' or name == 'A' else 2 - i
            pixels = np.resize(picture(48), (*[(40, 48), (44, 36), (36, 36)][shift], 3))
            Image.fromarray(pixels).save(tmp_path / 'data' / f'train{name}' / f'{i}.png')
    flags = (
        f'--model={model}',
        f'--dataroot={tmp_path / "data"}',
        '--name=run',
        '--preprocess=none',
        '--netD=n_layers',
    )
    assert program.run_training(tmp_path, *flags, '--n_layers_D=1', '--max_steps=4', small=False) == 0


def test_what_was_asked_for_without_effect_is_said(stacked, tmp_path, capsys):
    arguments = ('--name=run', f'--results_dir={tmp_path}', '--batch_statistics')
    assert program.run_translation(stacked, *arguments) == 0
    assert '`batch_statistics` (true) has no effect: the generators have norm instance' in capsys.readouterr().err
    with pytest.raises(UserError, match='2 names do not fit 1 images'):
        cyclegan_tf.load(stacked / 'run').translate(np.zeros([8, 8, 4], np.uint8), names=['a', 'b'])


# ---------------------------------------------------------------------------------------------------------------- CUT
@pytest.mark.slow
def test_generators_with_blurs_are_the_same_in_files_tiles_and_exports(tmp_path):
    settings = dict(netG='resnet_6blocks', ngf=4, init_type='normal', init_gain=0.2, load_size=36, crop_size=32)
    make_run(tmp_path, model='cut', direction='BtoA', **settings)
    image = photograph(75, 61)
    Image.fromarray(image).save(tmp_path / 'photo.png')
    arguments = (f'--input={tmp_path / "photo.png"}', f'--output={tmp_path / "out"}')
    assert program.run_translation(tmp_path, '--name=run', *arguments) == 0
    written = np.asarray(Image.open(tmp_path / 'out' / 'photo.png')).astype(int)
    assert written.shape == image.shape and written.std() > 5
    assert program.run_export(tmp_path, '--name=run', f'--output={tmp_path / "models"}', '--nowarmup') == 0
    model = tf.saved_model.load(str(tmp_path / 'models' / 'run_BtoA' / '1'))
    served = model.signatures['translate_images'](images=tf.constant(image[None]))['images'].numpy()[0]
    assert np.abs(served.astype(int) - written).max() <= 1
    whole = cyclegan_tf.load(tmp_path / 'run')
    tiled = cyclegan_tf.load(tmp_path / 'run', max_pixels=whole.least_max_pixels)
    large = np.tile(photograph(256, 256), (3, 2, 1))
    one, other = whole.translate(large).astype(int), tiled.translate(large)
    assert np.abs(one - other).mean() < 0.25 * one.std()  # instance norm's statistics are those of a reduced view

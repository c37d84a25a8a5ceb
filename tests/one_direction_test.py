"""A model of one direction, without cycle and identity errors, goes through every program."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

import cyclegan_tf
from cyclegan_tf.errors import UserError
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.settings.run_flags import load_config, parse_training
from tests.helpers import image_files, program

FLAGS = (
    '--model=tiny', '--name=run', '--load_size=36', '--crop_size=32', '--num_threads=1', '--n_epochs=2',
    '--n_epochs_decay=0', '--print_freq=1', '--save_epoch_freq=1', '--eval_freq=1', '--keep_best=psnr',
)  # fmt: skip


@pytest.fixture(scope='module', params=['AtoB', 'BtoA'])
def trained(tmp_path_factory, request):
    """(direction, checkpoints_dir) of a run that was measured after each of its two epochs; read only."""
    place = tmp_path_factory.mktemp('one_direction')
    data = image_files.make_image_folders(place)
    arguments = (f'--dataroot={data}', f'--direction={request.param}', *FLAGS)
    assert program.run_training(place, *arguments, small=False) == 0
    return request.param, place


@pytest.fixture
def picture():
    return np.asarray(Image.linear_gradient('L').resize((22, 18)).convert('RGB'))


def test_training_shows_measures_and_keeps_what_the_model_has(trained):
    direction, place = trained
    seen = program.events(place / 'run')
    assert [step for step, _ in seen['loss/G_L1']] == list(range(1, 11))
    assert {tag for tag in seen if tag.startswith(('gradient_norm', 'learning_rate'))} == {
        'gradient_norm/G', 'learning_rate/G'
    }  # fmt: skip
    # In the model's own names, whose A is the data set's B with direction BtoA.
    assert [step for step, _ in seen['test/A_to_B']] == [5, 10] and 'test/B_to_A' not in seen
    measured = {tag for tag in seen if tag.startswith('eval/')}
    assert measured == {f'eval/{name}_{direction}' for name in ('psnr', 'ssim', 'edges')}
    values = [float(value) for _, value in seen[f'eval/psnr_{direction}']]
    assert checkpoints.find(place / 'run', 'best').epoch == 1 + int(np.argmax(values))


def test_the_settings_of_a_run_are_its_models_own(trained):
    text = (trained[1] / 'run' / 'flags.cfg').read_text()
    assert '--lambda_tiny=10.0' in text and '--lambda_A' not in text
    assert load_config(trained[1] / 'run').lambda_tiny == 10.0


def test_it_is_measured(trained, tmp_path, capsys):
    direction, place = trained
    assert program.run_evaluation(place, '--name=run', '--epoch=all', f'--results_dir={tmp_path}') == 0
    found = json.loads((tmp_path / 'run' / 'eval_test_all' / 'metrics.json').read_text())
    for results in (*(one['results'] for one in found['checkpoints']), found['untranslated']):
        assert set(results) == {direction}
        assert set(results[direction]) == {'images', 'pairs', 'psnr', 'ssim', 'edges'}
    assert f'{direction}: 2 images, 2 with a counterpart.' in capsys.readouterr().out


def test_its_test_images_are_translated_onto_a_page_of_one_section(trained, tmp_path):
    direction, place = trained
    source, target = direction[0], direction[-1]
    assert program.run_translation(place, '--name=run', f'--results_dir={tmp_path}') == 0
    results = tmp_path / 'run' / 'test_latest'
    assert re.findall('<section id="(.*?)"', (results / 'index.html').read_text()) == [f'{source}-to-{target}'.lower()]
    names = {path.name.partition('_')[2] for path in (results / 'images').glob('*.png')}
    assert names == {f'real_{source}.png', f'fake_{target}.png', f'true_{target}.png'}
    assert set(json.loads((results / 'metrics.json').read_text())['psnr']) == {direction}


def test_a_folder_of_one_domain_is_translated_in_the_only_direction(trained, tmp_path, picture):
    direction, place = trained
    (tmp_path / 'photos').mkdir()
    Image.fromarray(picture).save(tmp_path / 'photos' / 'photo.png')
    flags = ('--name=run', '--dataset_mode=single', f'--dataroot={tmp_path / "photos"}', f'--results_dir={tmp_path}')
    assert program.run_translation(place, *flags) == 0
    names = {path.name for path in (tmp_path / 'run' / 'test_latest' / 'images').glob('*.png')}
    assert names == {f'photo_real_{direction[0]}.png', f'photo_fake_{direction[-1]}.png'}


@pytest.mark.parametrize('asked', ['the other', 'both'])
def test_a_direction_that_the_model_has_not_is_refused(trained, tmp_path, asked):
    direction, place = trained
    other = {'AtoB': 'BtoA', 'BtoA': 'AtoB'}[direction]
    flag = f'--direction={other if asked == "the other" else "both"}'
    messages = {
        'the other': f"`direction` .'{other}'. is not one of: {direction}, the directions of model tiny of this run",
        'both': f'`direction` .both. asks for two, but model tiny of this run translates only {direction}',
    }
    message = messages[asked]
    for start, arguments in (
        (program.run_translation, (f'--results_dir={tmp_path}',)),
        (program.run_export, (f'--output={tmp_path}', '--nowarmup')),
    ):
        with pytest.raises(UserError, match=message):
            start(place, '--name=run', *arguments, flag)
    with pytest.raises(UserError, match=messages['the other']):
        cyclegan_tf.load(place / 'run').translate(np.zeros([8, 8, 3], np.uint8), other)
    assert not list(tmp_path.iterdir())


def test_files_python_and_a_served_model_give_the_same_in_the_only_direction(trained, tmp_path, picture):
    direction, place = trained
    Image.fromarray(picture).save(tmp_path / 'photo.png')
    arguments = (f'--input={tmp_path / "photo.png"}', f'--output={tmp_path / "out"}')
    assert program.run_translation(place, '--name=run', *arguments) == 0
    written = np.asarray(Image.open(tmp_path / 'out' / 'photo.png'))
    run = cyclegan_tf.load(place / 'run')
    np.testing.assert_array_equal(written, run.translate(picture))
    # One convolution sees no further than a tile's margins: in tiles the same comes out.
    large = np.tile(picture, (40, 40, 1))
    tiled = cyclegan_tf.load(place / 'run', max_pixels=run.least_max_pixels).translate(large)
    assert np.abs(tiled.astype(int) - run.translate(large)).max() <= 1

    assert program.run_export(place, '--name=run', f'--output={tmp_path / "models"}', '--nowarmup') == 0
    assert [path.name for path in (tmp_path / 'models').iterdir()] == [f'run_{direction}']
    model = tf.saved_model.load(str(tmp_path / 'models' / f'run_{direction}' / '1'))
    served = model.signatures['translate_images'](images=tf.constant(picture[None]))['images'].numpy()[0]
    assert np.abs(served.astype(int) - written).max() <= 1
    card = (tmp_path / 'models' / f'run_{direction}' / '1' / 'MODEL.md').read_text()
    assert 'model tiny' in card and '| lsgan, lambda_tiny 10 |' in card


@pytest.mark.parametrize(
    'flag, message',
    [
        (
            '--keep_best=cycle',
            r"`keep_best` \('cycle'\) is not one of: psnr, ssim, kid, fid, alone or followed by _AtoB\.",
        ),
        ('--keep_best=psnr_BtoA', r"`keep_best` \('psnr_BtoA'\) is not one of"),
        ('--lambda_identity=0.5', '`lambda_identity` .*cycle_gan.*tiny'),
    ],
)
def test_what_belongs_to_other_models_is_refused(flag, message):
    with pytest.raises((UserError, flags.Error), match=message):
        parse_training(['train', '--dataroot=demo', *FLAGS, flag])


# ------------------------------------------------------------------------------------------------ models of all kinds
MORE = ('--precision=float16', '--emulate_precision', '--lr_policy=plateau', '--accumulate_steps=2')


@pytest.mark.parametrize(
    'model, more',
    [
        ('tiny', ()),
        ('tiny', MORE),
        ('tiny_pix2pix', ()),
        ('tiny_cut', MORE),
        pytest.param('tiny_pix2pix', MORE, marks=pytest.mark.nightly),
        pytest.param('tiny_cut', (), marks=pytest.mark.nightly),
    ],
)
def test_a_resumed_run_equals_one_that_was_not_stopped(image_folders, tmp_path, model, more):
    fixed = ('--no_dropout=false', '--n_epochs_decay=0')
    arguments = (f'--model={model}', f'--dataroot={image_folders}', *fixed, *FLAGS[1:5])
    assert program.run_training(tmp_path / 'through', *arguments, *more, '--n_epochs=4', small=False) == 0
    assert program.run_training(tmp_path / 'again', *arguments, *more, '--n_epochs=2', small=False) == 0
    again = ('--name=run', '--continue_train', '--n_epochs=4')
    assert program.run_training(tmp_path / 'again', *again, small=False) == 0
    through, stopped = (program.weights(tmp_path / kind / 'run') for kind in ('through', 'again'))
    assert through.keys() == stopped.keys()
    assert len([name for name in through if 'optimizer_' in name]) > 8
    for name, value in through.items():
        np.testing.assert_array_equal(value, stopped[name], err_msg=name)


def test_a_run_of_three_players_is_measured_and_translated(image_folders, tmp_path):
    arguments = ('--model=tiny_cut', f'--dataroot={image_folders}', *FLAGS[1:])
    assert program.run_training(tmp_path, *arguments, small=False) == 0
    seen = program.events(tmp_path / 'run')
    assert {tag for tag in seen if tag.startswith('loss/')} == {
        f'loss/{name}' for name in ('G_GAN', 'G', 'NCE', 'NCE_Y', 'D_real', 'D_fake')
    }
    assert {f'gradient_norm/{player}' for player in 'GDF'} | {f'learning_rate/{player}' for player in 'GDF'} < set(seen)
    assert program.run_translation(tmp_path, '--name=run', '--epoch=best', f'--results_dir={tmp_path}') == 0
    assert (tmp_path / 'run' / 'test_best' / 'index.html').is_file()

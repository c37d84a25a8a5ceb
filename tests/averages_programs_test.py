"""A run that keeps running means of its weights: exact resume, and which program uses which weights."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import cyclegan_tf
from cyclegan_tf.models import MODELS
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.settings.run_flags import load_config
from tests.helpers import image_files, program

FLAGS = ('--name=run', '--ema_decay=0.5', '--lr=0.01', '--n_epochs=2', '--n_epochs_decay=0', '--save_epoch_freq=1')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return image_files.make_image_folders(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def trained(tmp_path_factory, data):
    """checkpoints_dir of a run of two epochs, read only."""
    place = tmp_path_factory.mktemp('averages')
    assert program.run_training(place, f'--dataroot={data}', *FLAGS) == 0
    return place


@pytest.fixture
def picture(photographs):
    return np.uint8(photographs(1, 32, 48)[0] * 127.5 + 127.5)


def networks(place, weights):
    """Direction -> the generator with these weights, as a checkpoint has them, without the program's Translator."""
    config = load_config(place / 'run')
    reader = tf.train.load_checkpoint(checkpoints.find(place / 'run', 'latest').prefix)
    model = MODELS[config.model](config, training=False)
    for name, network in model.networks().items():
        prefix = f'model/average_{name.lower()}/' if weights == 'average' else f'model/{name.lower()}/'
        found = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key.startswith(prefix)}
        found = {key: value for key, value in found.items() if 'OPTIMIZER_SLOT' not in key}
        for layer in ('conv_in', 'conv_out'):
            for kind in ('kernel', 'bias'):
                getattr(getattr(network, layer), kind).assign(
                    found[f'{prefix}{layer}/{kind}/.ATTRIBUTES/VARIABLE_VALUE']
                )
    return {one.name: one.network for one in model.translations.values()}


def test_it_stops_and_resumes_to_the_bit(trained, data, tmp_path):
    flags = (f'--dataroot={data}', *FLAGS)
    assert program.run_training(tmp_path, *flags, '--max_steps=3') == 0
    assert program.run_training(tmp_path, *flags, '--max_steps=0', '--continue_train') == 0
    whole, resumed = (
        tf.train.load_checkpoint(checkpoints.find(place / 'run', 'latest').prefix) for place in (trained, tmp_path)
    )
    names = [name for name in whole.get_variable_to_shape_map() if name.startswith('model/')]
    assert sum('/average_g_' in name for name in names) == 8
    for name in names:
        assert np.array_equal(whole.get_tensor(name), resumed.get_tensor(name)), name


@pytest.mark.parametrize('weights', ['average', 'last', None])
def test_translating_python_and_exports_use_the_weights_that_are_asked_for(trained, tmp_path, picture, weights):
    flags = () if weights is None else (f'--weights={weights}',)
    network = networks(trained, weights or 'average')['BtoA']
    expected = network(picture[None] / np.float32(127.5) - 1)[0].numpy()
    run = cyclegan_tf.load(trained / 'run', **({} if weights is None else {'weights': weights}))
    np.testing.assert_allclose(run.translate(picture / np.float32(127.5) - 1, 'BtoA'), expected, atol=1e-5)
    Image.fromarray(picture).save(tmp_path / 'photo.png')
    arguments = ('--name=run', '--direction=BtoA', *flags)
    files = (f'--input={tmp_path / "photo.png"}', f'--output={tmp_path / "out"}')
    assert program.run_translation(trained, *arguments, *files) == 0
    np.testing.assert_array_equal(Image.open(tmp_path / 'out' / 'photo.png'), run.translate(picture, 'BtoA'))
    assert program.run_export(trained, *arguments, f'--output={tmp_path}', '--nowarmup') == 0
    exported = tmp_path / 'run_BtoA' / '1'
    served = tf.saved_model.load(str(exported)).signatures['translate_floats']
    found = served(images=tf.constant(picture[None] / np.float32(127.5) - 1))['images'][0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    card = (exported / 'MODEL.md').read_text()
    said = '| weights | those of the last step |' if weights == 'last' else '| weights | running mean over the training'
    assert said in card


def test_measures_and_pages_say_which_weights_they_are_of(trained, tmp_path):
    found = {}
    for weights, said in (('average', 'the running mean of the weights'), ('last', 'the weights of the last step')):
        flags = ('--name=run', f'--weights={weights}', f'--results_dir={tmp_path / weights}')
        assert program.run_evaluation(trained, *flags, '--metrics=psnr', '--pairs=yes') == 0
        measured = json.loads((tmp_path / weights / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
        assert measured['test_time'] == said
        found[weights] = measured['checkpoints'][0]['results']['AtoB']['psnr']
        assert program.run_translation(trained, *flags) == 0
        page = tmp_path / weights / 'run' / 'test_latest'
        assert f'Translated with {said}.' in (page / 'index.html').read_text()
    assert found['average'] != found['last']


def test_pictures_in_tensorboard_are_the_means(trained):
    seen = program.events(trained / 'run')
    assert 'test/A_to_B' in seen
    config = load_config(trained / 'run')
    model = MODELS[config.model](config)
    checkpoints.restore_networks(model, checkpoints.find(trained / 'run', 'latest'))
    image = tf.random.stateless_uniform([1, 32, 32, 3], [1, 2], -1, 1)
    row = model.visuals(image, image)['A_to_B']
    np.testing.assert_allclose(row['fake_B'], networks(trained, 'average')['AtoB'](image), atol=1e-5)

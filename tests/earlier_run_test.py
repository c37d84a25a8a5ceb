"""A run that the code before models had a common base saved: it is read, translated, exported and continued.

tests/files/earlier_run holds it after ten steps, with dropout and full pools, and what its next five steps came to:
trained by that code on the photographs of helpers.image_files, on TensorFlow 2.15. To the last bit those figures are of
one kind of processor and of that code's convolutions; elsewhere they differ by rounding.
"""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import cyclegan_tf
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.training.trainer import Trainer
from tests.helpers import program

FILES = pathlib.Path(__file__).parent / 'files' / 'earlier_run'


@pytest.fixture
def run(image_folders, tmp_path):
    """checkpoints_dir of a copy, which finds its images where they are now."""
    directory = tmp_path / 'checkpoints' / 'run'
    shutil.copytree(FILES, directory)
    flags = (directory / 'flags.cfg').read_text()
    (directory / 'flags.cfg').write_text(re.sub('--dataroot=.*', f'--dataroot={image_folders}', flags))
    return directory.parent


def test_its_settings_are_read(run):
    config = load_config(run / 'run')
    found = (config.model, config.lambda_A, config.lambda_identity, config.seed, config.pool_size, config.no_dropout)
    assert found == ('cycle_gan', 10.0, 0.5, 3, 2, False)


def test_all_of_its_state_is_restored_and_its_next_steps_are_the_same(run):
    saved = program.weights(run / 'run')
    with pytest.MonkeyPatch.context() as patch:
        # What continuing finds before its first step.
        patch.setattr(Trainer, 'train', lambda trainer: trainer._checkpoints.save_latest(11))
        assert program.run_training(run, '--name=run', '--continue_train', '--n_epochs_decay=1', small=False) == 0
    restored = program.weights(run / 'run')
    shutil.rmtree(run / 'run' / 'latest')
    assert restored.keys() == saved.keys() and len(saved) > 150
    for name, value in saved.items():
        np.testing.assert_array_equal(restored[name], value, err_msg=name)

    flags = ('--name=run', '--continue_train', '--n_epochs_decay=1', '--print_freq=1')
    assert program.run_training(run, *flags, small=False) == 0
    seen, expected = program.events(run / 'run'), json.loads((FILES / 'next_steps.json').read_text())
    assert len(expected) == 16
    for tag, values in expected.items():
        found = [float(value) for step, value in seen[tag] if step > 10]
        assert len(found) == 5 and found[:2] == pytest.approx(values[:2], rel=1e-4), tag
        # From then on the gradients of so small a network enlarge rounding a hundredfold at every step.
        if tag.startswith(('loss/', 'learning_rate/')):
            assert found == pytest.approx(values, rel=0.02), tag


def test_it_is_translated_measured_and_exported(run, tmp_path):
    for start, flags in (
        (program.run_translation, ('--load_size=16',)),
        (program.run_evaluation, ('--load_size=16', '--metrics=none')),
    ):
        assert start(run, '--name=run', f'--results_dir={tmp_path}', *flags) == 0
    assert (tmp_path / 'run' / 'test_latest' / 'index.html').is_file()
    measured = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    assert set(measured['checkpoints'][0]['results']['BtoA']) == {'images', 'cycle', 'identity'}

    assert program.run_export(run, '--name=run', f'--output={tmp_path / "models"}', '--nowarmup') == 0
    model = tf.saved_model.load(str(tmp_path / 'models' / 'run_AtoB' / '1'))
    picture = np.asarray(Image.new('RGB', (20, 24), 'orange'))
    served = model.signatures['translate_images'](images=tf.constant(picture[None]))['images'].numpy()[0]
    ours = cyclegan_tf.load(run / 'run').translate(picture)
    assert np.abs(served.astype(int) - ours).max() <= 1

"""What the page offers, and what it makes of files; without Gradio."""

import dataclasses
import itertools
import pathlib
import threading

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image, ImageCms

from cyclegan_tf import app
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.runs import checkpoint_store
from cyclegan_tf.runtime import console
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.web import models, pictures
from tests.helpers import program
from tests.helpers.image_files import tiff
from tests.helpers.served_models import make_run, photograph, run_export


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with two runs, an unfinished one, and exported models."""
    place = tmp_path_factory.mktemp('models')
    make_run(place / 'checkpoints', 'both')
    program.run_training(place / 'checkpoints', '--dataroot=demo', '--name=mean', '--ema_decay=0.9', '--max_steps=1')
    (place / 'checkpoints' / 'begun').mkdir()
    (place / 'checkpoints' / 'begun' / 'flags.cfg').write_text('--dataroot=demo\n')
    assert run_export(place / 'checkpoints', place / 'models', '--name=both', '--version=2') == 0
    assert run_export(place / 'checkpoints', place / 'models', '--name=both', '--version=10') == 0
    return place


def settings(place, *flags):
    return app.parse(['app', f'--checkpoints_dir={place / "checkpoints"}', *flags])


def test_runs_with_a_checkpoint_are_offered_with_what_they_have(place):
    runs = models.Runs(settings(place))
    assert runs.names == ['both', 'mean']
    assert runs.directions('both') == ['AtoB', 'BtoA'] and runs.checkpoints('both') == ['latest']
    assert [runs.weights(name) for name in runs.names] == [('average',), ('average', 'last')]
    assert ('netG', 'resnet_6blocks') in runs.about('both', 'latest', 'AtoB')[1]


def test_the_best_checkpoint_and_those_of_epochs_are_offered_and_loaded(tmp_path):
    directory = make_run(tmp_path, 'long')
    config = load_config(directory)
    model = MODELS[config.model](config, training=False)
    saved = checkpoint_store.Checkpoints(directory, model, tf.Module(), keep=0)
    # Each with other weights, so that it is seen which is loaded.
    for epoch in (2, 9, 10, 11):
        for variable in model.networks()['G_A'].trainable_variables:
            variable.assign(variable * 1.1)
        model.step.assign(epoch * 100)
        if epoch == 9:
            saved.save_best(epoch, {'psnr': 1.0})
        if epoch == 11:
            saved.save_latest(1100)
        else:
            saved.save_epoch(epoch)
    runs = models.Runs(app.parse(['app', f'--checkpoints_dir={tmp_path}']))
    assert runs.checkpoints('long') == ['latest', 'best', '10', '9', '2']
    image = photograph()
    results = {
        epoch: runs.load('long', epoch, 'average').translator.translate(image, 'AtoB').astype(int)
        for epoch in runs.checkpoints('long')
    }
    np.testing.assert_array_equal(results.pop('best'), results['9'])
    distinct = [np.abs(one - other).max() for one, other in itertools.combinations(results.values(), 2)]
    assert len(distinct) == 6 and min(distinct) > 0
    steps = [dict(runs.about('long', epoch, 'AtoB')[1])['step'] for epoch in ('latest', 'best', '10')]
    assert steps == ['1,100', '900', '1,000']


@pytest.mark.parametrize(
    'flags, message',
    [
        (
            ['--name=begun'],
            "`name` .'begun'. is no run with a checkpoint in '.*', which has: both, mean; set it",
        ),
        (['--checkpoints_dir=nowhere'], "`checkpoints_dir` .'nowhere'. holds no run with a checkpoint; train one"),
        (['--model_dir=nowhere'], "`model_dir` .'nowhere'. holds no SavedModel; set it to the output of"),
    ],
)
def test_what_is_not_there_is_one_sentence(place, flags, message):
    with pytest.raises(UserError, match=message):
        app.main(settings(place, *flags))


def test_a_run_and_a_model_exclude_each_other():
    with pytest.raises(UserError, match="`name` .'run'. and `model_dir` .'models'. exclude each other; leave one out"):
        app.parse(['app', '--name=run', '--model_dir=models'])


def test_the_extra_that_is_missing_is_named(place):
    code = """
import sys
sys.modules['gradio'] = None  # as if it were not installed
from cyclegan_tf import app
app.run_program('app', app.parse, app.main)
"""
    flags = f'--checkpoints_dir={place / "checkpoints"}'
    status, _, error = program.run_python('-c', code, flags)
    assert status == 1
    assert error.splitlines()[-1] == (
        "app: the page needs Gradio, which is not installed; install it with: pip install '.[app]'"
    )


def test_models_are_loaded_once_and_kept_while_they_are_used(place):
    runs = models.Runs(settings(place, '--kept_models=2'))
    first = runs.load('both', 'latest', 'average')
    loaded = []
    users = [threading.Thread(target=lambda: loaded.append(runs.load('mean', 'latest', 'last'))) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert loaded[0] is loaded[1] is loaded[2] and runs.load('both', 'latest', 'average') is first
    other = runs.load('mean', 'latest', 'average')  # takes the place of what was used least
    assert runs.load('both', 'latest', 'average') is first and runs.load('mean', 'latest', 'average') is other
    assert runs.load('mean', 'latest', 'last') is not loaded[0]


def test_a_file_is_translated_with_its_depth_and_named_without_its_folder(place, tmp_path):
    loaded = models.Runs(settings(place, '--max_image_pixels=10000')).load('both', 'latest', 'average')
    deep = photograph(70, 90).astype(np.uint16) * 257
    (tmp_path / 'a deep.one.tif').write_bytes(tiff(deep, photometric='rgb'))
    found = pictures.translate(loaded, str(tmp_path / 'a deep.one.tif'), 'BtoA', tmp_path / 'out')
    assert found == tmp_path / 'out' / 'a deep.one.png'
    expected = loaded.translator.translate(deep, 'BtoA')
    np.testing.assert_array_equal(imagecodecs.png_decode(found.read_bytes()), expected)
    shown = pictures.preview(found, loaded.result_options('BtoA'))
    assert shown.mode == 'RGB' and shown.size == (90 * 5, 70 * 5)
    np.testing.assert_allclose(np.asarray(shown)[::5, ::5], expected / 257, atol=0.51)
    Image.new('RGB', (200, 100)).save(tmp_path / 'large.png')
    for call in (
        lambda: pictures.translate(loaded, str(tmp_path / 'large.png'), 'AtoB', tmp_path / 'out'),
        lambda: pictures.preview(tmp_path / 'large.png', loaded.options('AtoB')),
    ):
        with pytest.raises(UserError, match=r'^large.png: it claims 200x100 pixels; --max_image_pixels .10,000. is'):
            call()


def test_a_large_picture_is_shown_smaller_and_keeps_its_alpha(tmp_path):
    image = Image.new('RGBA', (3000, 1000), (10, 20, 30, 200))
    image.save(tmp_path / 'wide.png')
    shown = pictures.preview(tmp_path / 'wide.png', models.result_options(3, None))
    assert shown.size == (1600, 533)
    np.testing.assert_allclose(shown.getpixel((5, 5)), (10, 20, 30, 200), atol=1)


def test_what_is_shown_has_the_profile_of_the_picture(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    for size, ending in ((3000, '.jpg'), (100, '.png')):
        Image.new('RGB', (size, 50), (10, 20, 30)).save(tmp_path / 'one.png', icc_profile=profile)
        shown = pictures.preview(tmp_path / 'one.png', models.result_options(3, None))
        file = pictures.save(shown, tmp_path / 'a.shown')
        assert file.name == f'a.shown{ending}' and Image.open(file).info['icc_profile'] == profile


def test_tiles_are_told_while_they_are_made(place, tmp_path):
    loaded = models.Runs(settings(place, '--max_pixels=200704')).load('both', 'latest', 'average')
    Image.fromarray(photograph(470, 600)).save(tmp_path / 'large.png')
    told = []
    with console.listening(lambda *what: told.append(what)):
        pictures.translate(loaded, str(tmp_path / 'large.png'), 'AtoB', tmp_path / 'out')
    tiles = [(done, total) for unit, done, total in told if unit == 'tiles']
    assert len(tiles) > 3 and tiles == [(number + 1, len(tiles)) for number in range(len(tiles))]
    assert ('images', 1, 1) in told


def test_examples_are_the_runs_test_images(place, tmp_path):
    config = load_config(place / 'checkpoints' / 'both')
    examples = pictures.Examples(config, 3)
    for domain in 'AB':
        thumbnails = examples.thumbnails(domain)
        assert [name for _, name in thumbnails] == ['astronaut', 'chelsea', 'china']
        assert all(max(picture.size) == 160 for picture, _ in thumbnails)
        file = examples.file(domain, 1, tmp_path)
        shown = thumbnails[1][0]
        difference = np.asarray(Image.open(file).resize(shown.size), float) - np.asarray(shown)
        assert file.name == 'chelsea.png' and np.abs(difference).mean() < 5
    none = pictures.Examples(config, 0)
    assert none.thumbnails('A') == [] and none.problem('A') is examples.problem('A') is None
    gone = pictures.Examples(dataclasses.replace(config, dataroot=str(tmp_path / 'gone')), 3)
    assert gone.thumbnails('A') == [] and "gone') is not a folder" in gone.problem('A')
    for folder in ('testA', 'testB'):
        (tmp_path / 'gone' / folder).mkdir(parents=True)
        Image.fromarray(photograph()).save(tmp_path / 'gone' / folder / '0.png')
    assert [name for _, name in gone.thumbnails('A')] == ['0'] and gone.problem('A') is None


@pytest.mark.parametrize('mode', ['unaligned', 'aligned'])
def test_examples_that_vanish_are_sentences(place, tmp_path, mode):
    folders = ['test'] if mode == 'aligned' else ['testA', 'testB']
    for folder in folders:
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.fromarray(photograph(40, 80)).save(tmp_path / folder / f'{number}.png')
    config = load_config(place / 'checkpoints' / 'both')
    config = dataclasses.replace(config, dataroot=str(tmp_path), dataset_mode=mode)
    examples, later = pictures.Examples(config, 3), pictures.Examples(config, 3)
    assert [name for _, name in examples.thumbnails('A')] == ['0', '1', '2'] and examples.problem('A') is None
    (tmp_path / folders[0] / '1.png').unlink()
    assert [name for _, name in later.thumbnails('A')] == ['0', '2'] and later.problem('A') is None
    for number, name in ((0, '0.png'), (2, '2.png')):
        assert examples.file('A', number, tmp_path).name == name
    with pytest.raises(UserError, match=r'^.*1.png: the file does not exist .*; choose another picture.$'):
        examples.file('A', 1, tmp_path)
    for path in (tmp_path / folders[0]).iterdir():
        path.write_text('no picture')
    last = pictures.Examples(config, 3)
    assert last.thumbnails('A') == [] and last.problem('A') == (
        f'none of 2 test images can be read; {tmp_path / folders[0] / "2.png"}: it is not an image of a known format.'
    )
    # Their disk comes back.
    Image.fromarray(photograph(40, 80)).save(tmp_path / folders[0] / '0.png')
    assert [name for _, name in last.thumbnails('A')] == ['0'] and last.problem('A') is None


def test_values_of_a_range_come_back_as_such_and_are_shown(place, tmp_path):
    make_run(tmp_path, 'values', value_range='-1000,2000', input_nc=1, output_nc=1, lambda_identity=0.0)
    loaded = models.Runs(app.parse(['app', f'--checkpoints_dir={tmp_path}'])).load('values', 'latest', 'average')
    values = (photograph(40, 48)[..., 0].astype(np.int16) - 100) * 10
    (tmp_path / 'scan.tif').write_bytes(tiff(values, photometric='minisblack'))
    before = pictures.preview(tmp_path / 'scan.tif', loaded.options('AtoB'))
    assert before.mode == 'L' and np.asarray(before).std() > 10
    result = pictures.translate(loaded, str(tmp_path / 'scan.tif'), 'AtoB', tmp_path / 'out')
    found = tifffile.imread(result)
    assert result.name == 'scan.tif' and found.dtype == np.int16 and found.min() < 0 < 255 < found.max()
    np.testing.assert_array_equal(found, loaded.translator.translate(values[..., None], 'AtoB')[..., 0])
    assert pictures.preview(result, loaded.result_options('AtoB')).size == before.size


def test_exported_models_are_found_and_translate_as_the_run(place, tmp_path):
    of_all = models.Exported(settings(place, f'--model_dir={place / "models"}'))
    assert of_all.names == ['both_AtoB', 'both_BtoA'] and of_all.checkpoints('both_AtoB') == ['10']
    for folder, version in (('both_BtoA', '10'), ('both_BtoA/2', '2')):
        one = models.Exported(settings(place, f'--model_dir={place / "models" / folder}'))
        assert one.names == ['both_BtoA'] and one.checkpoints('both_BtoA') == [version]
    loaded = of_all.load('both_BtoA', '10', 'average')
    assert of_all.load('both_BtoA', '10', 'average') is loaded
    deep = photograph(70, 90).astype(np.uint16) * 257
    (tmp_path / 'deep.png').write_bytes(imagecodecs.png_encode(deep))
    found = pictures.translate(loaded, str(tmp_path / 'deep.png'), 'both_BtoA', tmp_path / 'out')
    expected = models.Runs(settings(place)).load('both', 'latest', 'average').translator.translate(deep, 'BtoA')
    np.testing.assert_allclose(imagecodecs.png_decode(found.read_bytes()).astype(int), expected, atol=3)


def test_an_exported_model_says_what_is_too_large_for_it(place, tmp_path):
    flags = ['--name=both', '--direction=AtoB', '--max_pixels=4096']
    assert run_export(place / 'checkpoints', tmp_path / 'small', *flags) == 0
    loaded = models.Exported(settings(place, f'--model_dir={tmp_path / "small"}')).load('both_AtoB', '1', 'average')
    Image.fromarray(photograph(70, 90)).save(tmp_path / 'large.png')
    with pytest.raises(
        UserError,
        match='^large.png: The image has 90x70 pixels; this model takes at most 4,096 of them: make it smaller.$',
    ):
        pictures.translate(loaded, str(tmp_path / 'large.png'), 'both_AtoB', tmp_path / 'out')


@pytest.mark.parametrize(
    'change, message',
    [('pb', 'cannot be read as a SavedModel .*; export it again'), ('values', 'takes numbers of a range')],
)
def test_an_exported_model_that_cannot_be_used_is_named(place, tmp_path, change, message):
    if change == 'values':
        make_run(tmp_path, 'ct', value_range='-1000,1000')
        assert run_export(tmp_path, tmp_path / 'models', '--name=ct', '--direction=AtoB') == 0
    else:
        folder = pathlib.Path(tmp_path / 'models' / 'ct_AtoB' / '1')
        folder.mkdir(parents=True)
        (folder / 'saved_model.pb').write_text('damaged')
    offered = models.Exported(settings(place, f'--model_dir={tmp_path / "models"}'))
    with pytest.raises(UserError, match=message):
        offered.load('ct_AtoB', '1', 'average')

"""Translating images of any size and kind: padded, in tiles, from files and from Python."""

import dataclasses
import os
import pathlib

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import cyclegan_tf
from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.networks.shapes import pad_to_multiple
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.settings.models import CycleGANConfig
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.translation import files as translation_files
from cyclegan_tf.translation import translator
from tests.helpers import program
from tests.helpers.image_files import tiff
from tests.helpers.served_models import make_run


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Directories of runs, by name: 'colour', 'gray' (to colour, BtoA), and 'batch' (norm), trained a little."""
    directory = tmp_path_factory.mktemp('runs')
    small = dict(load_size=36, crop_size=32, init_gain=0.03)
    make_run(directory, 'colour', **small)
    make_run(directory, 'gray', direction='BtoA', output_nc=1, lambda_identity=0.0, **small)
    # Its statistics come from training.
    program.run_training(directory, '--dataroot=demo', '--name=batch', '--n_epochs=1', '--n_epochs_decay=0',
                         '--max_dataset_size=4', '--lr=0.002', '--norm=batch')  # fmt: skip
    return {name: directory / name for name in ('colour', 'batch', 'gray')}


def photograph(height=101, width=73, name='chelsea'):
    picture = Image.fromarray(demo.regions('test', 'A')[name])
    return np.asarray(picture.resize((width, height), Image.BICUBIC))


@pytest.mark.parametrize(
    'untrained, direction, made',
    [
        (frozenset(), None, ['AtoB']),
        (frozenset(), 'BtoA', ['BtoA']),
        (frozenset(), 'both', ['AtoB', 'BtoA']),
        (frozenset({'G_A'}), None, ['BtoA']),
        (frozenset({'G_A'}), 'AtoB', ['BtoA']),  # which says that it has no other
        (frozenset(), 'CtoA', ['AtoB', 'BtoA']),
    ],
)
def test_only_the_generators_that_files_need_are_made(runs, untrained, direction, made):
    config = load_config(runs['colour'])
    checkpoint = dataclasses.replace(checkpoints.find(runs['colour'], 'latest'), untrained=untrained)
    directions = translator.Translator.directions_of_files(config, checkpoint, direction)
    some = translator.Translator.from_checkpoint(config, checkpoint, directions=directions)
    assert list(some.translations) == made
    whole = translator.Translator.from_checkpoint(config, checkpoint)
    for name in made:
        np.testing.assert_array_equal(some.translate(photograph(), name), whole.translate(photograph(), name))


def test_images_keep_their_size_and_kind(runs):
    loaded = cyclegan_tf.load(runs['colour'])
    image = photograph()
    for direction in ('AtoB', 'BtoA'):
        result = loaded.translate(image, direction)
        assert result.shape == image.shape and result.dtype == np.uint8 and result.std() > 1
    wide = loaded.translate(image.astype(np.uint16) * 257)
    assert wide.dtype == np.uint16
    assert np.abs(wide / 257 - loaded.translate(image)).max() <= 0.51
    floats = loaded.translate(image / 127.5 - 1)
    assert floats.dtype == np.float32 and np.abs((floats + 1) * 127.5 - loaded.translate(image)).max() <= 0.51
    assert loaded.translate(image, dtype=np.dtype(np.uint16)).dtype == np.uint16
    batch = loaded.translate(np.stack([image, image[::-1]]))
    np.testing.assert_allclose(batch[0].astype(int), loaded.translate(image), atol=1)
    assert loaded.translate(np.zeros((0, 9, 9, 3), np.uint8)).shape == (0, 9, 9, 3)


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 3), (7, 5), (8, 8), (33, 64)])
def test_odd_and_tiny_sizes(runs, size):
    image = photograph(*size)
    loaded = cyclegan_tf.load(runs['colour'])
    assert loaded.translate(image).shape == image.shape
    padded = pad_to_multiple(image[None].astype(np.float32) / 127.5 - 1, 4).numpy()
    whole = loaded.translate_floats(padded, 'AtoB')[0, : size[0], : size[1]]
    np.testing.assert_allclose(loaded.translate(image / np.float32(127.5) - 1), whole, atol=1e-5)


def test_alpha_is_kept_and_gray_is_taken(runs):
    loaded = cyclegan_tf.load(runs['colour'])
    image, alpha = photograph(), photograph(name='coffee')[..., :1]
    result = loaded.translate(np.concatenate([image, alpha], axis=-1))
    np.testing.assert_array_equal(result[..., 3:], alpha)
    np.testing.assert_array_equal(result[..., :3], loaded.translate(image))
    gray = np.asarray(Image.fromarray(image).convert('L'))[..., None]
    np.testing.assert_array_equal(loaded.translate(gray), loaded.translate(np.repeat(gray, 3, axis=-1)))


def test_directions_name_the_folders_whatever_the_runs_direction_was(runs):
    loaded = cyclegan_tf.load(runs['gray'])  # its own A is the folder B
    assert loaded.translation('BtoA').channels == (3, 1) and loaded.translation('AtoB').channels == (1, 3)
    assert loaded.translate(photograph(), 'BtoA').shape == (101, 73, 1)
    assert loaded.translate(photograph(), 'AtoB').shape == (101, 73, 3)


@pytest.mark.parametrize(
    'images, direction, message',
    [
        (np.zeros((9, 9, 3), np.uint8), 'AB', "`direction` .'AB'. is not one of: AtoB, BtoA"),
        (np.zeros((9, 9), np.uint8), 'AtoB', r'shape \(9, 9\) are neither'),
        (np.zeros((9, 9, 3), np.int32), 'AtoB', 'dtype int32 are not one of'),
        (np.zeros((9, 9, 5), np.uint8), 'AtoB', '5 channels, which cannot be converted to 3'),
        (np.zeros((9, 9, 1), np.float32), 'AtoB', '1 channels do not fit a network that takes 3'),
    ],
)
def test_what_cannot_be_translated_is_refused(runs, images, direction, message):
    with pytest.raises(UserError, match=message):
        cyclegan_tf.load(runs['colour']).translate(images, direction)


# -------------------------------------------------------------------------------------------------------------- memory
def untrained(**settings):
    """A translator with weights as they are drawn."""
    config = CycleGANConfig(dataroot='demo', netG='resnet_6blocks', ngf=4, init_gain=0.3)
    return translator.Translator(config, MODELS[config.model](config, training=False), **settings)


def test_a_batch_is_split_into_what_max_pixels_allows():
    loaded, seen = untrained(), []
    network = loaded._untiled['AtoB']
    loaded._untiled['AtoB'] = lambda images, *told: seen.append(len(images)) or network(images, *told)
    images = np.stack([photograph(300, 250), photograph(300, 250, 'coffee'), photograph(300, 250)[::-1]])
    expected = loaded.translate(images)
    loaded.max_pixels = 300 * 252 * 2  # 250 is padded
    np.testing.assert_allclose(loaded.translate(images).astype(int), expected, atol=1)
    loaded.max_pixels = 300 * 252
    np.testing.assert_allclose(loaded.translate(images).astype(int), expected, atol=1)
    assert seen == [3, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    'run', [program.run_translation, pytest.param(program.run_evaluation, marks=pytest.mark.nightly)]
)
def test_memory_that_is_not_enough_is_one_sentence_with_what_helps(tmp_path, monkeypatch, run):
    make_run(tmp_path)
    # As the first convolution of a very large image would.
    monkeypatch.setattr(translator.Translator, 'translate_floats', lambda *_: tf.zeros([10**9, 10**6]))
    flags = ['--name=run', '--max_pixels=300000', '--num_test=1', f'--results_dir={tmp_path}']
    with pytest.raises(UserError, match='`max_pixels` .300000. needs more memory than the CPU has; lower'):
        run(tmp_path, *flags)


# ------------------------------------------------------------------------------------------------------------ in tiles
def test_tiles_with_batch_norm_equal_the_whole(runs):
    whole, tiled = cyclegan_tf.load(runs['batch']), cyclegan_tf.load(runs['batch'], max_pixels=460**2)
    image = photograph(700, 530) / np.float32(127.5) - 1
    assert image.shape[0] * image.shape[1] < whole.max_pixels
    np.testing.assert_allclose(tiled.translate(image), whole.translate(image), atol=1e-4)


@pytest.mark.slow
def test_tiles_with_instance_norm_show_no_seams(runs):
    whole, tiled = cyclegan_tf.load(runs['colour']), cyclegan_tf.load(runs['colour'], max_pixels=460**2)
    image = photograph(700, 530) / np.float32(127.5) - 1
    result = tiled.translate(image)
    assert np.abs(result - whole.translate(image)).mean() < 0.02 * 2
    own = 460 - 2 * 192
    steps = np.abs(np.diff(result, axis=0)).mean(axis=(1, 2))
    borders = np.arange(own, 700, own) - 1
    assert steps[borders].mean() / np.delete(steps, borders).mean() < 1.1


MEMORY = """
import sys, threading, time
import cyclegan_tf
import numpy as np
import psutil
from cyclegan_tf.settings.models import CycleGANConfig
from cyclegan_tf.models import MODELS
from cyclegan_tf.translation.translator import Translator

config = CycleGANConfig(dataroot='demo', netG='resnet_6blocks', ngf=16)
translator = Translator(config, MODELS['cycle_gan'](config, training=False), max_pixels=int(sys.argv[1]))
image = np.random.default_rng(0).uniform(-1, 1, (1500, 2000, 3)).astype(np.float32)
translator.translate(image[:64, :64])
process, peak, done = psutil.Process(), [0], threading.Event()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], process.memory_info().rss)

thread, before = threading.Thread(target=watch), process.memory_info().rss
thread.start()
translator.translate(image)
done.set()
thread.join()
print(peak[0] - before)
"""


@pytest.mark.slow
def test_tiles_keep_memory_within_what_max_pixels_asks_for(monkeypatch):
    # What is freed goes back to the system at once: glibc keeps some of it for every thread, from run to run more or
    # less, and measured that would be the allocator's memory, not the translator's. glibc reads this when a process
    # starts, not when it is forked.
    monkeypatch.setenv('MALLOC_ARENA_MAX', '1')
    monkeypatch.setenv('MALLOC_MMAP_THRESHOLD_', '131072')
    # On a busy machine, a second thread for operations sometimes frees a buffer only when the next one is there.
    monkeypatch.setenv('TF_NUM_INTEROP_THREADS', '1')

    def peak(max_pixels):
        status, output, error = program.run_python('-c', MEMORY, max_pixels, real=True)
        assert status == 0, error
        return int(output)

    # As docs/translation.md says: 24 bytes for each filter and pixel of a tile, four copies of the image in float32.
    bound = 24 * 16 * 400_000 + 4 * (1500 * 2000 * 3 * 4)
    if 'avx512f' not in pathlib.Path('/proc/cpuinfo').read_text():
        bound += 150_000_000  # oneDNN takes other kernels there, which need more whatever the size
    assert peak(400_000) < bound < peak(10**9)


# -------------------------------------------------------------------------------------------------------------- frames
@pytest.mark.parametrize('name', ['colour', 'gray', 'batch'])
def test_a_first_frame_is_what_the_image_would_be(runs, name):
    loaded = cyclegan_tf.load(runs[name], batch_statistics=True)
    channels = loaded.translation('AtoB').channels[0]
    image = photograph(41, 54)[..., :channels].astype(np.float32) / 127.5 - 1
    frame = loaded.translate_frame(image, 'AtoB')
    assert loaded.smooths_statistics('AtoB')
    np.testing.assert_allclose(frame, loaded.translate_floats(image[None], 'AtoB')[0], atol=2e-3)
    # A large one goes through the network in tiles.
    tiled = cyclegan_tf.load(runs[name], batch_statistics=True, max_pixels=460**2)
    large = photograph(470, 462)[..., :channels].astype(np.float32) / 127.5 - 1
    np.testing.assert_array_equal(tiled.translate_frame(large, 'AtoB'), tiled.translate_floats(large[None], 'AtoB')[0])


def test_frames_share_statistics_so_that_what_comes_and_goes_does_not_change_the_rest(runs):
    loaded = cyclegan_tf.load(runs['colour'])
    scene = np.repeat(photograph(160, 160)[None].astype(np.float32) / 127.5 - 1, 8, axis=0)
    scene[1::2, :30, :30] = 1  # a lamp that goes on and off, out of sight of what is measured

    def changes(kept):
        frames = [loaded.translate_frame(one, 'AtoB', kept if index else 0.0) for index, one in enumerate(scene)]
        return np.abs(np.diff(frames, axis=0))[:, 130:, 130:].mean()

    assert changes(0.95) < 0.25 * changes(0.0)
    # A single frame between them would start them anew.
    first = loaded.translate_frame(scene[0], 'AtoB')
    assert np.abs(loaded.translate_frame(scene[1], 'AtoB', 1.0) - first)[130:, 130:].max() < 1e-4


def test_frames_of_running_statistics_have_nothing_to_smooth(runs):
    loaded = cyclegan_tf.load(runs['batch'])
    image = photograph(40, 44).astype(np.float32) / 127.5 - 1
    assert not loaded.smooths_statistics('AtoB')
    loaded.translate_frame(1 - image, 'AtoB')
    np.testing.assert_array_equal(
        loaded.translate_frame(image, 'AtoB', 0.9), loaded.translate_floats(image[None], 'AtoB')[0]
    )
    with pytest.raises(UserError, match='images of 1 channels do not fit a network that takes 3'):
        loaded.translate_frame(image[..., :1], 'AtoB')


def test_a_tile_needs_some_pixels_of_its_own(runs):
    with pytest.raises(UserError, match=r'`max_pixels` .1000. is too small for a tile .* raise it to 200704'):
        cyclegan_tf.load(runs['colour'], max_pixels=1000)


# --------------------------------------------------------------------------------------------------------------- files
@pytest.fixture
def inputs(tmp_path):
    """A folder of images of several kinds, one of them broken."""
    folder = tmp_path / 'in'
    (folder / 'sub').mkdir(parents=True)
    Image.fromarray(photograph()).save(folder / 'odd.png')
    Image.fromarray(photograph(40, 44)).save(folder / 'sub' / 'a.png')
    Image.fromarray(photograph(40, 44)).save(folder / 'sub' / 'a.jpg')
    Image.fromarray(photograph(40, 44)).convert('L').save(folder / 'gray.png')
    (folder / 'deep.tif').write_bytes(tiff(photograph(40, 44).astype(np.uint16) * 257, photometric='rgb'))
    (folder / 'bad name ä.jpg').write_text('no image')
    return folder


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in pathlib.Path(folder).rglob('*') if path.is_file())


def test_a_folder_is_translated_with_its_subfolders_and_bad_files_are_named(runs, inputs, tmp_path, capsys):
    flags = ['--name=colour', f'--input={inputs}', f'--output={tmp_path / "out"}']
    with pytest.raises(UserError, match='1 image could not be translated, see above; all others were'):
        program.run_translation(runs['colour'].parent, *flags)
    captured = capsys.readouterr()
    assert f'Wrote 5 pictures to {tmp_path / "out"} (' in captured.out
    assert 'bad name ä.jpg: it is not an image of a known format' in captured.err
    assert files(tmp_path / 'out') == ['deep.png', 'gray.png', 'odd.png', 'sub/a_jpg.png', 'sub/a_png.png']
    loaded = cyclegan_tf.load(runs['colour'])
    odd = imagecodecs.png_decode((tmp_path / 'out' / 'odd.png').read_bytes())
    np.testing.assert_array_equal(odd, loaded.translate(photograph()))
    deep = imagecodecs.png_decode((tmp_path / 'out' / 'deep.png').read_bytes())
    assert deep.dtype == np.uint16 and deep.shape == (40, 44, 3)
    assert np.abs(deep / 257.0 - loaded.translate(photograph(40, 44))).max() < 1.5


def test_one_file_a_pattern_both_directions_and_other_sizes(runs, inputs, tmp_path):
    common = ['--name=colour', f'--checkpoints_dir={runs["colour"].parent}']
    run = lambda *flags: program.run_translation(runs['colour'].parent, *common[:1], *flags)  # noqa: E731
    assert run(f'--input={inputs / "odd.png"}', f'--output={tmp_path / "one"}', '--direction=BtoA') == 0
    expected = cyclegan_tf.load(runs['colour']).translate(photograph(), 'BtoA')
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'one' / 'odd.png')), expected)
    assert run(f'--input={inputs}/sub/*.png', f'--output={tmp_path / "both"}', '--direction=both') == 0
    assert files(tmp_path / 'both') == ['AtoB/a.png', 'BtoA/a.png']
    assert run(f'--input={inputs}/[dg]*', f'--output={tmp_path / "size"}', '--resize=50x31', '--output_depth=8') == 0
    for path in (tmp_path / 'size').iterdir():
        picture = imagecodecs.png_decode(path.read_bytes())
        assert picture.shape[:2] == (31, 50) and picture.dtype == np.uint8
    with pytest.raises(UserError, match='`input` .* matches no file as a pattern'):
        run(f'--input={inputs}/*.bmp')


@pytest.mark.parametrize('place', ['*.png', '', 'gray.png'])
def test_images_that_are_read_are_never_overwritten(runs, inputs, place):
    before = {path: path.read_bytes() for path in inputs.rglob('*') if path.is_file()}
    flags = ['--name=colour', f'--input={inputs / place}', f'--output={inputs / "sub" / ".."}']
    with pytest.raises(UserError, match='`output` .* would overwrite .*png., an input; set it to another'):
        program.run_translation(runs['colour'].parent, *flags)
    assert {path: path.read_bytes() for path in inputs.rglob('*') if path.is_file()} == before


def test_an_output_folder_within_the_input_is_not_read(runs, tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    Image.fromarray(photograph(40, 44)).save(folder / 'a.jpg')
    for _ in range(2):
        flags = ['--name=colour', f'--input={folder}', f'--output={folder / "out"}']
        assert program.run_translation(runs['colour'].parent, *flags) == 0
        assert 'Wrote 1 picture to' in capsys.readouterr().out
        assert files(folder) == ['a.jpg', 'out/a.png']


def test_a_name_that_cannot_be_is_one_images_problem(runs, tmp_path, capsys):
    folder = tmp_path / 'in'
    (folder / 'x.png').mkdir(parents=True)
    longest = 'n' * 251 + '.jpg'
    for name in ('x.png/in.png', 'x.jpg', longest, 'm' * 250 + '.jpeg'):
        Image.fromarray(photograph(40, 44)).save(folder / name, 'PNG')
    (tmp_path / 'out' / f'{"n" * 251}.png').mkdir(parents=True)  # in the way of one of them
    flags = ['--name=colour', f'--input={folder}', f'--output={tmp_path / "out"}']
    with pytest.raises(UserError, match='1 image could not be translated, see above; all others were'):
        program.run_translation(runs['colour'].parent, *flags)
    assert f'{longest}: ' in (error := capsys.readouterr().err) and 'cannot be written (Is a directory)' in error
    assert files(tmp_path / 'out') == sorted([f'{"m" * 250}.png', 'x.png/in.png', 'x_2.png'])


def test_a_picture_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'replace', lambda *paths: (_ for _ in ()).throw(OSError('full')))
    with pytest.raises(OSError, match='full'):
        translation_files.write_png(tmp_path / 'x.png', photograph())
    assert files(tmp_path) == []


def test_many_sizes_are_translated_by_one_trace(runs):
    loaded = cyclegan_tf.load(runs['colour'])
    for side in (20, 24, 30, 33):
        loaded.translate(photograph(side, side + 3))
    assert loaded._untiled['AtoB'].experimental_get_tracing_count() == 1


@pytest.mark.parametrize('half, levels', [('bfloat16', 3), ('float16', 0.5)])
def test_translating_in_half_precision_is_close(runs, inputs, tmp_path, half, levels):
    pictures = {}
    for precision in ('float32', half):
        output = tmp_path / precision
        flags = ['--name=colour', f'--input={inputs}/odd.png', f'--output={output}', f'--precision={precision}']
        assert program.run_translation(runs['colour'].parent, *flags) == 0
        pictures[precision] = np.asarray(Image.open(output / 'odd.png')).astype(int)
    difference = np.abs(pictures['float32'] - pictures[half])
    assert 0 < difference.mean() < levels  # of 255

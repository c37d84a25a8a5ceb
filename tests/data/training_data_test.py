"""What training does with the images of a folder: what it says, refuses, leaves aside, and in which sizes it learns."""

import sys

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import decode, demo, stores, training_data
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig
from tests.helpers import program
from tests.helpers.image_files import REASONS, tiff

ONE_EPOCH = ('--n_epochs=1', '--n_epochs_decay=0', '--print_freq=1', '--display_freq=100')


def open_data(root, cache_dir, *flags):
    """The training data as the program opens it."""
    argv = ['train', f'--dataroot={root}', f'--cache_dir={cache_dir}', *program.SMALL, *flags]
    return training_data.open_training_data(parse(Config, argv), Console(1, stream=sys.stdout))


def photographs(folder, count, size=lambda i: (60 + 9 * i, 52 - 5 * i), half=None):
    """Small photographs of several sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(list(demo.regions('test', 'A').values())[:count]):
        picture = Image.fromarray(pixels).resize(size(i))
        if half is not None:
            other = Image.fromarray(half(np.asarray(picture)))
            picture = Image.fromarray(np.concatenate([np.asarray(picture), np.asarray(other)], axis=1))
        picture.save(folder / f'{i}.png')


# ------------------------------------------------------------------------------------------------------- broken images
def test_training_on_bad_images_lists_all_and_does_not_begin(bad_folder, tmp_path):
    (bad_folder / 'trainB' / '1.png').write_bytes(b'')
    with pytest.raises(UserError) as caught:
        program.run_training(tmp_path / 'checkpoints', f'--dataroot={bad_folder}', '--name=run', *ONE_EPOCH)
    message = str(caught.value)
    count = len(REASONS) + 1
    assert message.startswith(f'{count} of ') and len(message.splitlines()) == count + 1
    for name in (*REASONS, 'trainB/1.png'):
        assert name in message
    assert not list((tmp_path / 'checkpoints' / 'run').glob('*ckpt*'))


@pytest.mark.slow
def test_under_skip_training_runs_on_the_rest(bad_folder, tmp_path, capsys):
    flags = (f'--dataroot={bad_folder}', '--name=run', '--on_bad_image=skip', *ONE_EPOCH)
    assert program.run_training(tmp_path / 'checkpoints', *flags) == 0
    output = capsys.readouterr().out
    assert output.count('Skipped: ') == len(REASONS)
    good = 13 - 7 - (1 if 'forbidden.png' in REASONS else 0)
    assert f'{good} steps each of batch 1' in output


def test_an_image_that_turns_bad_while_training_runs(image_folders, tmp_path):
    for on_bad_image in ('error', 'skip'):
        data = open_data(image_folders, tmp_path, '--cache=none', f'--on_bad_image={on_bad_image}', '--serial_batches')
        path = image_folders / 'trainA' / '3.png'
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        stream = data.stream().from_step(0)
        if on_bad_image == 'error':
            with pytest.raises(Exception, match='UserError'):
                list(stream.take(5))
            assert '3.png cannot be used' in str(data.failure)
        else:
            assert data.scalars() == {'data/replaced_images': 0}
            assert len(list(stream.take(5))) == 5
            assert data.scalars()['data/replaced_images'] >= 1
        path.write_bytes(whole)


@pytest.mark.slow
def test_the_program_names_an_image_that_turns_bad(image_folders, tmp_path, monkeypatch):
    path = image_folders / 'trainA' / '3.png'
    whole = path.read_bytes()
    opened = training_data.open_training_data

    def open_and_break(*arguments):
        data = opened(*arguments)
        path.write_bytes(whole[:500])
        return data

    monkeypatch.setattr(training_data, 'open_training_data', open_and_break)
    flags = (f'--dataroot={image_folders}', '--name=run', '--cache=none', *ONE_EPOCH)
    with pytest.raises(UserError, match=r'^\S+trainA/3\.png cannot be used: .*; replace or remove it'):
        program.run_training(tmp_path / 'error', *flags)
    path.write_bytes(whole)
    assert program.run_training(tmp_path / 'skip', *flags, '--on_bad_image=skip') == 0
    events = program.events(tmp_path / 'skip' / 'run')
    assert float(events['data/replaced_images'][-1][1]) >= 1
    waits = [float(value) for _, value in events['speed/input_wait']]
    assert len(waits) == 5 and all(0 <= wait <= 1 for wait in waits)


def test_no_image_left_is_refused(image_folders, tmp_path):
    for path in (image_folders / 'trainB').iterdir():
        path.write_bytes(b'')
    with pytest.raises(UserError, match=r'no image of \S+trainB can be used'):
        open_data(image_folders, tmp_path, '--on_bad_image=skip')


# -------------------------------------------------------------------------------------------------------- what is said
def test_what_there_is_is_said(image_folders, tmp_path, capsys):
    (image_folders / 'trainB' / '2.png').write_bytes((image_folders / 'trainA' / '4.png').read_bytes())
    open_data(image_folders, tmp_path, '--preprocess=crop', '--crop_size=44', '--cache_memory_mb=0')
    output = capsys.readouterr().out
    assert 'Domain A, ' in output and 'trainA: 5 images, 48x40, colour, 8 bit, PNG.' in output
    assert output.count('2.png is identical to') == 1
    assert 'Warning: 10 of 10 images are smaller than crop_size (44) and are enlarged.' in output
    assert f'Cache: 0.1 MB of decoded images exceed the 0 MB of memory for them and are kept in {tmp_path}.' in output


def test_direction_exchanges_the_domains(tmp_path):
    for domain, level in (('A', 10), ('B', 200)):
        (tmp_path / f'train{domain}').mkdir()
        Image.new('RGB', (40, 40), (level,) * 3).save(tmp_path / f'train{domain}' / 'x.png')
    levels = []
    for direction in ('AtoB', 'BtoA'):
        a, b = open_data(tmp_path, tmp_path, f'--direction={direction}').stream().batch(0)
        levels.append([float(x[0, 0, 0, 0]) for x in (a, b)])
    assert levels[0] == levels[1][::-1] and levels[0][0] < levels[0][1]


def test_what_an_earlier_run_has_left_on_the_disk_needs_no_more_room(image_folders, tmp_path, monkeypatch):
    open_data(image_folders, tmp_path, '--cache=disk')
    monkeypatch.setattr(stores, '_free_disk', lambda directory: 0)
    assert open_data(image_folders, tmp_path, '--cache=disk').table_b.holds(0)
    assert open_data(image_folders, tmp_path, '--cache_memory_mb=0').table_b.holds(0)
    with pytest.raises(UserError, match='`cache` .disk. needs 0 MB more in .* where 0 MB are free'):
        open_data(image_folders, tmp_path, '--cache=disk', '--load_size=40')


@pytest.mark.parametrize('flags', [(), ('--dataset_mode=aligned',)])
def test_a_second_start_decodes_only_what_has_changed_and_trains_on_the_same(tmp_path, monkeypatch, flags):
    aligned = '--dataset_mode=aligned' in flags
    for part in ['train'] if aligned else ['trainA', 'trainB']:
        photographs(tmp_path / 'data' / part, 4, half=demo.day_for_night if aligned else None)
    decoded, original = [], decode.decode_with_metadata
    monkeypatch.setattr(decode, 'decode_with_metadata', lambda data, of: decoded.append(1) or original(data, of))

    def start():
        decoded.clear()
        data = open_data(tmp_path / 'data', tmp_path, '--cache=memory', '--batch_size=2', *flags)
        at_start = len(decoded)
        batches = [np.concatenate([x.numpy() for x in batch]) for batch in data.stream().from_step(0).take(12)]
        return at_start, batches, data

    at_start, expected, _ = start()
    assert at_start >= 4 * (1 if aligned else 2)
    at_start, batches, data = start()
    assert at_start == 0
    np.testing.assert_array_equal(batches, expected)
    # By now each image has been decoded and is kept.
    decoded.clear()
    assert all(data.table_a.holds(i) for i in range(4)) and all(data.table_a.row(i) is not None for i in range(4))
    assert not decoded
    photographs(tmp_path / 'data' / ('train' if aligned else 'trainA'), 1, lambda i: (50, 70))  # 0.png is replaced
    assert 1 <= start()[0] <= 2


def test_an_image_whose_pixels_are_broken_is_named_at_every_start(tmp_path):
    for part in ('trainA', 'trainB'):
        photographs(tmp_path / 'data' / part, 3)
    path = tmp_path / 'data' / 'trainA' / '9.jpg'
    Image.new('RGB', (40, 40), 'red').save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b'\xff\xc0') + 12] = 3  # a quantization table that the file lacks: only decoding tells
    path.write_bytes(data)
    for flags in ((), ('--on_bad_image=skip',)):
        for _ in range(2):
            if flags:
                assert len(open_data(tmp_path / 'data', tmp_path, *flags).table_a) == 3
            else:
                with pytest.raises(UserError, match=r'(?s)1 of 4 images cannot be used.*9\.jpg: '):
                    open_data(tmp_path / 'data', tmp_path)


# ------------------------------------------------------------------------------------------------------ sizes, channels
def test_differing_sizes_need_a_batch_of_one_and_no_pool(tmp_path):
    for part in ('trainA', 'trainB'):
        photographs(tmp_path / part, 3)
    for flags in (['--preprocess=none'], ['--preprocess=none', '--pool_size=0', '--batch_size=2']):
        with pytest.raises(UserError, match='images differ in size .* requires --batch_size=1 and --pool_size=0'):
            open_data(tmp_path, tmp_path, *flags)
    with pytest.raises(UserError, match='`gan_mode` .wgangp. .*same size'):
        open_data(tmp_path, tmp_path, '--preprocess=none', '--pool_size=0', '--gan_mode=wgangp')
    assert open_data(tmp_path, tmp_path, '--preprocess=none', '--pool_size=0').sizes == (None, None)


@pytest.mark.slow
def test_whole_images_of_differing_sizes_are_learnt_from_and_translated(tmp_path):
    for part in ('trainA', 'trainB', 'testA', 'testB'):
        photographs(tmp_path / 'data' / part, 3)
    flags = (f'--dataroot={tmp_path / "data"}', '--name=run', '--preprocess=none', '--pool_size=0', *ONE_EPOCH)
    assert program.run_training(tmp_path / 'checkpoints', *flags) == 0
    assert 'test/A_to_B' in program.events(tmp_path / 'checkpoints' / 'run')
    program.run_translation(tmp_path / 'checkpoints', '--name=run', f'--results_dir={tmp_path}')
    images = tmp_path / 'run' / 'test_latest' / 'images'
    sizes = [Image.open(images / f'{i}_fake_B.png').size for i in range(3)]
    assert sizes == [(60, 52), (68, 48), (80, 40)]  # 69x47 and 78x42, rounded


@pytest.mark.slow
def test_domains_of_two_sizes_fill_pools_of_their_own(tmp_path):
    photographs(tmp_path / 'trainA', 3, lambda i: (64, 40))
    photographs(tmp_path / 'trainB', 3, lambda i: (36, 48))
    flags = (f'--dataroot={tmp_path}', '--name=run', '--preprocess=none', *ONE_EPOCH)
    assert program.run_training(tmp_path / 'checkpoints', *flags) == 0
    weights = program.weights(tmp_path / 'checkpoints' / 'run')
    of_pool = lambda pool: weights[f'model/{pool}/images/.ATTRIBUTES/VARIABLE_VALUE'].shape  # noqa: E731
    assert (of_pool('pool_a'), of_pool('pool_b')) == ((3, 48, 36, 3), (3, 40, 64, 3))


@pytest.mark.slow
def test_gray_and_colour_of_sixteen_bits_are_learnt_from_and_translated(tmp_path):
    for phase in ('train', 'test'):
        photographs(tmp_path / 'data' / f'{phase}B', 3)
        (tmp_path / 'data' / f'{phase}A').mkdir()
        for i in range(3):
            deep = np.random.default_rng(i).integers(0, 65536, (40, 44, 3), np.uint16)
            (tmp_path / 'data' / f'{phase}A' / f'{i}.tif').write_bytes(tiff(deep, photometric='rgb'))
    flags = (f'--dataroot={tmp_path / "data"}', '--name=run', '--input_nc=1', '--lambda_identity=0', *ONE_EPOCH)
    assert program.run_training(tmp_path / 'checkpoints', *flags) == 0
    program.run_translation(tmp_path / 'checkpoints', '--name=run', f'--results_dir={tmp_path}')
    images = tmp_path / 'run' / 'test_latest' / 'images'
    assert [Image.open(images / f'0_{label}.png').mode for label in ('real_A', 'fake_B', 'fake_A')] == [
        'I;16',
        'RGB',
        'L',
    ]


@pytest.mark.slow
def test_aligned_pairs_are_learnt_from_and_measured(tmp_path, capsys):
    for phase in ('train', 'test'):
        photographs(tmp_path / 'data' / phase, 3, half=demo.day_for_night)
    flags = (f'--dataroot={tmp_path / "data"}', '--name=run', '--dataset_mode=aligned', *ONE_EPOCH)
    assert program.run_training(tmp_path / 'checkpoints', *flags) == 0
    program.run_translation(tmp_path / 'checkpoints', '--name=run', f'--results_dir={tmp_path}')
    images = tmp_path / 'run' / 'test_latest' / 'images'
    real, true = (np.asarray(Image.open(images / f'1_{label}.png')).astype(int) for label in ('real_A', 'true_B'))
    assert real.mean() > true.mean() + 20
    assert 'AtoB: PSNR' in capsys.readouterr().out
    # The same run, on a folder of one domain.
    photographs(tmp_path / 'one', 2)
    one = ['--dataset_mode=single', '--direction=BtoA', f'--dataroot={tmp_path / "one"}', '--name=run']
    program.run_translation(tmp_path / 'checkpoints', *one, f'--results_dir={tmp_path / "single"}')
    found = sorted(path.name for path in (tmp_path / 'single' / 'run' / 'test_latest' / 'images').iterdir())
    assert found == [f'{i}_{label}.png' for i in range(2) for label in ('fake_A', 'real_B', 'rec_B')]
    settings = parse(TranslateConfig, ['translate', *one])
    assert settings.dataset_mode == 'single'


def test_training_on_a_single_domain_is_refused(image_folders, tmp_path):
    with pytest.raises(UserError, match='`dataset_mode` .single. is for translation only'):
        open_data(image_folders, tmp_path, '--dataset_mode=single')

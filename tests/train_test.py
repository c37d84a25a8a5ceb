"""The training program on real files: what it leaves, how it resumes, what it refuses."""

import io
import pathlib
import re
import shutil
import signal
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import training_data
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.runtime import hardware
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.settings.models import CycleGANConfig
from cyclegan_tf.settings.run_flags import load_config, parse_training
from tests.helpers import image_files, program

EPOCHS = ('--n_epochs=2', '--n_epochs_decay=1')  # of five images each


@pytest.fixture
def quick(image_folders, tmp_path):
    """Flags of a small run on real files."""
    return (tmp_path / 'checkpoints', f'--dataroot={image_folders}', '--name=run', *EPOCHS)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(checkpoints_dir, flags) of a run that is done, with all its epochs; not to be changed."""
    place = tmp_path_factory.mktemp('finished')
    flags = (f'--dataroot={image_files.make_image_folders(place)}', '--name=run', *EPOCHS, '--save_epoch_freq=1')
    assert program.run_training(place, *flags) == 0
    return place, flags


@pytest.fixture
def again(finished, tmp_path):
    """A copy of it, that can be changed: what run_training takes."""
    shutil.copytree(finished[0] / 'run', tmp_path / 'again' / 'run')
    return (tmp_path / 'again', *finished[1])


# ------------------------------------------------------------------------------------------------- what a run leaves
def phases(output):
    """The seconds of the start in all, and of its phases by name, if they are printed once."""
    (start,) = re.findall(r'^Start: (\S+) s to the end of the first step, of which\n((?: +\S+ s  .+\n)+)', output, re.M)
    return float(start[0]), {name: float(seconds) for seconds, name in re.findall(r' +(\S+) s  (.+)\n', start[1])}


def test_verbose_tells_where_the_seconds_of_a_start_go_of_a_resumed_one_too(quick):
    place, *flags = quick
    for more in (['--n_epochs=1', '--n_epochs_decay=0'], ['--continue_train']):
        begin = time.monotonic()
        arguments = (f'--checkpoints_dir={place}', *program.SMALL, *flags, *more, '--verbose')
        status, output, error = program.finish(program.start('train', *arguments))
        assert status == 0, error
        total, found = phases(output)
        assert total < time.monotonic() - begin
        # Each is rounded, and those are missing that round to nothing.
        assert sum(found.values()) == pytest.approx(total, abs=0.05 * 15)
        assert found['tracing the step'] > 0 and found['making networks'] > 0
        assert 'in one batch: discriminators; ' in output  # without an identity loss
        assert output.index('Start: ') < output.index('Chosen for this machine: ') < output.index('Done: ')
    assert found.keys() - {'tracing the step'} and 'Continuing from step 5.' in output


def test_without_verbose_nothing_is_told_of_the_start(quick, capsys):
    assert program.run_training(*quick, '--n_epochs=1', '--n_epochs_decay=0') == 0
    output = capsys.readouterr().out
    assert 'Start: ' not in output and 'Chosen' not in output


def test_a_run_leaves_flags_checkpoints_curves_and_pictures(quick, capsys):
    profiled = '--profile_steps=3,4'
    flags = ('--print_freq=2', '--display_freq=5', '--save_epoch_freq=2', '--lambda_identity=0.5', profiled)
    assert program.run_training(*quick, *program.REAL, *flags, small=False) == 0
    directory = quick[0] / 'run'
    stored = load_config(directory)
    assert (stored.ngf, stored.crop_size, stored.n_epochs, stored.name) == (4, 32, 2, 'run')

    found = [(c.epoch, c.step) for c in checkpoints.find_all(directory)]
    assert found == [(2, 10), (3, 15)]  # every second epoch, and the last one

    seen = program.events(directory)
    steps = [2, 4, 6, 8, 10, 12, 14, 15]
    names = ('D_A', 'G_A', 'cycle_A', 'idt_A', 'D_B', 'G_B', 'cycle_B', 'idt_B')
    scalars = [f'loss/{name}' for name in names] + ['learning_rate/G', 'learning_rate/D']
    scalars += ['gradient_norm/G', 'gradient_norm/D', 'speed/images_per_second', 'speed/step_seconds', 'epoch']
    scalars += ['speed/input_wait', 'data/replaced_images']
    scalars += [f'discriminator/D_{d}_{k}' for d in 'AB' for k in ('real', 'fake')]
    for tag in scalars:
        assert [step for step, _ in seen[tag]] == steps, tag
        assert np.isfinite([float(value) for _, value in seen[tag]]).all()
    rates = {step: float(value) for step, value in seen['learning_rate/G']}
    assert rates[2] == pytest.approx(2e-4) and rates[15] == pytest.approx(1e-4)
    assert [int(value) for _, value in seen['epoch']] == [1, 1, 2, 2, 2, 3, 3, 3]
    for direction in ('A_to_B', 'B_to_A'):
        assert [step for step, _ in seen[f'images/{direction}']] == [1, 5, 10, 15]
        assert [step for step, _ in seen[f'test/{direction}']] == [5, 10, 15]
        width, height, png = seen[f'images/{direction}'][0][1]
        picture = Image.open(io.BytesIO(png))
        assert picture.size == (int(width), int(height)) == (4 * 128 + 3 * 4, 128 + 16)
        assert np.asarray(picture)[16:].std() > 10
    assert '| ngf | 4 |' in seen['configuration'][0][1].item().decode()
    assert any('hparams' in tag for tag in seen)
    assert list((directory / 'plugins' / 'profile').rglob('*.xplane.pb'))

    output = capsys.readouterr().out
    for expected in (
        'Domain A, ',
        'trainA: 5 images, 48x40',
        'kept in memory',
        'Network G_A: resnet_6blocks',
        '5 steps each',
        '1 x CPU',
        'step 15/15',
    ):
        assert expected in output


@pytest.mark.slow
def test_steps_of_an_epoch_are_rounded_up(quick, capsys):
    program.run_training(*quick, '--batch_size=2')
    assert 'step 9/9' in capsys.readouterr().out
    assert checkpoints.find(quick[0] / 'run', 'latest').step == 9


# ----------------------------------------------------------------------------------------------------------- resuming
def stop_after(monkeypatch, steps):
    """Sends this process SIGTERM, for real, when the run has done so many steps."""
    from cyclegan_tf.runtime.console import Console

    original = Console.advance

    def advance(self, step, *arguments):
        original(self, step, *arguments)
        if step >= steps:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Console, 'advance', advance)


FLOAT16 = ('--precision=float16', '--emulate_precision')  # on any CPU


@pytest.mark.parametrize(
    'model',
    [
        program.SMALL,
        # Here the first steps overflow and are skipped.
        pytest.param(
            (*program.REAL, *FLOAT16, '--recompute_grads', '--netD=n_layers', '--n_layers_D=1'),
            marks=pytest.mark.nightly,
        ),
    ],
    ids=['tiny', 'real in float16'],
)
def test_resume_equals_uninterrupted_run(quick, monkeypatch, model):
    directory, *flags = quick
    flags += [*model, '--lr_policy=plateau', '--print_freq=4', '--no_dropout=false']
    assert program.run_training(directory / 'through', *flags, small=False) == 0
    # Inside an epoch and between two reports, twice; where images are kept makes no difference.
    for steps, cache in ((3, 'none'), (7, 'disk')):
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            again = [f'--cache={cache}', *(['--continue_train'] if steps > 3 else [])]
            assert program.run_training(directory / 'stopped', *flags, *again, small=False) == 143
        assert checkpoints.find(directory / 'stopped' / 'run', 'latest').step >= steps
    # Nothing but the name: the rest comes from flags.cfg.
    assert program.run_training(directory / 'stopped', '--name=run', '--continue_train', small=False) == 0
    through, stopped = (program.weights(directory / kind / 'run') for kind in ('through', 'stopped'))
    assert through.keys() == stopped.keys() and len(through) > 50
    for name, value in through.items():
        np.testing.assert_array_equal(value, stopped[name], err_msg=name)
    curves = [program.events(directory / kind / 'run')['loss/G_A'] for kind in ('through', 'stopped')]
    assert [(s, float(v)) for s, v in curves[0]] == [(s, float(v)) for s, v in curves[1]]
    if model != program.SMALL:
        scales = [float(v) for _, v in program.events(directory / 'stopped' / 'run')['loss_scale/G']]
        assert scales == sorted(scales, reverse=True) and 1 <= scales[-1] < 2**15


@pytest.mark.slow
def test_a_run_goes_on_in_another_precision(again, capsys):
    step = checkpoints.find(again[0] / 'run', 'latest').step
    others = FLOAT16, ('--precision=bfloat16', '--recompute_grads'), ('--precision=float32',)
    for epochs, more in enumerate(others, start=2):
        before = program.weights(again[0] / 'run')
        assert program.run_training(*again, '--continue_train', f'--n_epochs_decay={epochs}', *more) == 0
        output, after = capsys.readouterr().out, program.weights(again[0] / 'run')
        assert f'Continuing from step {step}.' in output, output
        assert f'{more[0].removeprefix("--").replace("=", " is now ")}; it was ' in output, output
        step = checkpoints.find(again[0] / 'run', 'latest').step
        assert {value.dtype for value in after.values()} == {value.dtype for value in before.values()}
        assert before.keys() == after.keys() and all(np.all(np.isfinite(v)) for v in after.values() if v.dtype == 'f4')
    assert step == 15 + 3 * 5


def test_a_cpu_without_instructions_for_a_precision_computes_in_float32_unless_it_is_insisted_on(
    quick, monkeypatch, capsys
):
    place, *flags = quick
    flags += ['--n_epochs=1', '--n_epochs_decay=0']
    monkeypatch.setattr(hardware, '_INSTRUCTIONS', {'bfloat16': ('of another kind',)})
    kinds = {'full': (), 'half': ('--precision=bfloat16',), 'forced': ('--precision=bfloat16', '--emulate_precision')}
    outputs = {}
    for kind, more in kinds.items():
        assert program.run_training(place / kind, *flags, *more) == 0
        outputs[kind] = capsys.readouterr().out
    missing = 'this CPU has no instructions for bfloat16 (of another kind), so'
    assert missing not in outputs['full']
    assert f'{missing} float32 is used, which is faster here; --emulate_precision uses bfloat16.' in outputs['half']
    assert f'{missing} it will be far slower than float32 here.' in outputs['forced']
    full, half, forced = (program.weights(place / kind / 'run') for kind in kinds)
    for name, value in full.items():
        np.testing.assert_array_equal(half[name], value, err_msg=name)
    assert any(np.any(forced[name] != value) for name, value in full.items() if value.dtype == 'f4')
    # The run itself remains in half precision, for a machine that has the instructions.
    assert '--precision=bfloat16' in (place / 'half' / 'run' / 'flags.cfg').read_text().splitlines()


def test_the_state_that_is_saved_is_complete(finished):
    names = program.weights(finished[0] / 'run')
    for part in ('g_a', 'g_b', 'd_a', 'd_b', 'optimizer_g', 'optimizer_d', 'pool_a/images', 'pool_b/count', 'plateau',
                 'step', 'since_epoch'):  # fmt: skip
        assert any(part in name for name in names), part
    assert int(names['model/pool_a/count/.ATTRIBUTES/VARIABLE_VALUE']) == 3


def test_a_run_that_is_there_is_never_overwritten(again):
    before = program.weights(again[0] / 'run')
    with pytest.raises(UserError, match='holds a checkpoint; resume it with --continue_train'):
        program.run_training(*again)
    for name, value in program.weights(again[0] / 'run').items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.slow
def test_resuming_an_earlier_epoch_drops_the_later_ones(again, capsys):
    expected = program.weights(again[0] / 'run')
    shorter = ('--n_epochs=2', '--n_epochs_decay=0')
    assert program.run_training(*again, '--continue_train', '--epoch=1', *shorter) == 0
    assert 'Continuing from step 5' in (output := capsys.readouterr().out) and 'Deleted 2 checkpoints' in output
    # What was dropped is not listed again.
    assert [c.epoch for c in checkpoints.find_all(again[0] / 'run')] == [1, 2]
    assert program.run_training(*again, '--continue_train', '--keep_checkpoints=2') == 0
    for name, value in program.weights(again[0] / 'run').items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    with pytest.raises(UserError, match='no checkpoint for `epoch` .9.; it has checkpoints of epochs: 2, 3'):
        program.run_training(*again, '--continue_train', '--epoch=9')


@pytest.mark.parametrize(
    'flag, old',
    [
        ('--ngf=8', '4'),
        ('--netD=pixel', 'basic'),
        ('--dataroot=demo', 'data'),
        ('--norm=batch', 'instance'),
        ('--gan_mode=vanilla', 'lsgan'),
    ],
)
def test_resuming_with_what_cannot_change_is_refused_with_both_values(quick, image_folders, flag, old):
    directory = quick[0] / 'run'
    directory.mkdir(parents=True)
    (directory / 'flags.cfg').write_text('\n'.join(['# a run', *program.SMALL, *quick[1:]]))
    stored = parse_training(['train', f'--checkpoints_dir={quick[0]}', '--name=run', '--continue_train', flag])
    name, value = flag[2:].split('=')
    from cyclegan_tf.training import session

    with pytest.raises(UserError, match=f'`{name}` .{value}. is not what the run was trained with .*{old}'):
        session.compare_with_stored(*stored)


def test_resuming_with_more_images_is_refused_with_both_counts_and_nothing_is_deleted(again, finished):
    folder = pathlib.Path(again[1].partition('=')[2]) / 'trainB'
    there = [one.step for one in checkpoints.find_all(again[0] / 'run')]
    shutil.copy(folder / '0.png', folder / 'more.png')
    try:
        with pytest.raises(UserError, match='now gives 6 steps per epoch, but the run was trained with 5, so images'):
            program.run_training(*again, '--continue_train', '--epoch=1', '--n_epochs=9')
    finally:
        (folder / 'more.png').unlink()
    assert [one.step for one in checkpoints.find_all(again[0] / 'run')] == there
    assert load_config(again[0] / 'run').n_epochs == 2


@pytest.mark.slow
def test_resuming_with_another_length_or_rate_is_allowed_and_logged(again, capsys):
    more = ('--continue_train', '--n_epochs_decay=2', '--lr=0.001')
    assert program.run_training(*again, *more) == 0
    output = capsys.readouterr().out
    assert 'n_epochs_decay is now 2; it was 1.' in output and 'lr is now 0.001; it was 0.0002.' in output
    assert checkpoints.find(again[0] / 'run', 'latest').step == 20
    assert load_config(again[0] / 'run').n_epochs_decay == 2


# ----------------------------------------------------------------------------------------------------- what goes wrong
def test_a_loss_that_is_not_finite_stops_training_and_the_last_checkpoint_stays(quick):
    with pytest.raises(
        UserError, match=r'is (nan|inf) at step \d+: training stops, and the checkpoint of step \d is kept'
    ):
        program.run_training(*quick, '--save_latest_freq=1', '--lr=1e30', '--norm=none')
    for name, value in program.weights(quick[0] / 'run').items():
        assert np.isfinite(value).all() or 'plateau/best' in name, name


@pytest.mark.slow
def test_a_loss_that_is_not_finite_before_the_first_checkpoint_is_not_said_to_have_one(quick):
    with pytest.raises(UserError, match=r'stops, and there is no checkpoint yet\. Lower --lr, .*, and start again\.$'):
        program.run_training(*quick, '--lr=1e30', '--norm=none')


def complaint(*flags):
    """What the program says, in a process of its own; it must be one sentence, or one and a list, no traceback."""
    status, _, error = program.finish(program.start('train', *flags))
    _, found, message = error.partition('cyclegan_tf.train:')
    assert found and 'cyclegan_tf.train:' not in message and 'Traceback' not in error, error
    return status, found + message.rstrip()


def test_bad_flags_exit_2_and_bad_data_exit_1_with_one_sentence(image_folders, tmp_path):
    place = f'--checkpoints_dir={tmp_path}'
    status, text = complaint('--dataroot=demo', '--crop_size=300', place)
    assert (status, text) == (
        2, 'cyclegan_tf.train: `crop_size` (300) exceeds `load_size` (286); lower it or raise load_size.'
    )  # fmt: skip
    (image_folders / 'trainB' / '1.png').write_text('no image')
    status, text = complaint(f'--dataroot={image_folders}', place)
    assert status == 1 and '1 of 10 images cannot be used' in text
    assert text.splitlines()[1].strip().startswith(str(image_folders / 'trainB' / '1.png: it is not an image'))


@pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX')
@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_and_exits(image_folders, tmp_path, number, status):
    real = number == signal.SIGTERM  # once as a user starts it, with a model that a user has
    flags = (f'--dataroot={image_folders}', f'--checkpoints_dir={tmp_path}', '--print_freq=1')
    process = program.start('train', *(program.REAL if real else program.SMALL), *flags, real=real)
    for line in process.stdout:
        if 'step 3/' in line:
            process.send_signal(number)
            break
    code, output, error = program.finish(process)
    assert code == status, error
    assert f'{number.name} at step' in output
    assert checkpoints.find(tmp_path / 'experiment_name', 'latest').step >= 3


def test_a_place_that_cannot_be_written_is_named(quick, tmp_path):
    (tmp_path / 'file').write_text('no folder')  # root may write into any folder, but not into a file
    with pytest.raises(UserError, match='`checkpoints_dir` .*file.* cannot be written'):
        program.run_training(tmp_path / 'file', *quick[1:])


def test_continuing_what_is_not_there_is_refused(quick):
    with pytest.raises(UserError, match='holds no checkpoint to continue from'):
        program.run_training(*quick, '--continue_train')
    (quick[0] / 'run').mkdir(parents=True)
    # Stopped before it saved anything.
    (quick[0] / 'run' / 'flags.cfg').write_text('\n'.join([*program.SMALL, *quick[1:]]))
    with pytest.raises(UserError, match='holds no checkpoint to continue from'):
        program.run_training(*quick, '--continue_train')


# ------------------------------------------------------------------------------------------------------ the other way
def test_direction_b_to_a_exchanges_the_domains(image_folders):
    config = CycleGANConfig(dataroot=str(image_folders), direction='BtoA', load_size=32, crop_size=32, ngf=4)
    data = training_data.open_training_data(config, Console(1))
    picture = Image.open(image_folders / 'trainB' / '0.png').resize((32, 32), Image.BICUBIC)
    np.testing.assert_array_equal(data.table_a.row(0), np.asarray(picture))
    model = MODELS['cycle_gan'](config, training=False)
    # Directions name the folders: B to A is the network from the domain that this run calls A.
    assert {name: one.network for name, one in model.translations.items()} == {'BtoA': model.g_a, 'AtoB': model.g_b}


@pytest.mark.slow
def test_another_seed_gives_other_weights(quick, finished):
    program.run_training(*quick, '--seed=1', '--n_epochs=1')
    one, other = (program.weights(place / 'run') for place in (finished[0], quick[0]))
    key = next(name for name in one if 'conv_in/kernel' in name)
    assert not np.array_equal(one[key], other[key])


def test_the_newest_checkpoint_is_restored_by_tensorflow_alone(finished):
    prefix = checkpoints.find(finished[0] / 'run', 'latest').prefix
    assert pathlib.Path(prefix + '.index').exists()
    assert int(tf.train.load_variable(prefix, 'model/step/.ATTRIBUTES/VARIABLE_VALUE')) == 15


# ------------------------------------------------------------------------------------------------ a number of steps
def test_a_run_ends_at_max_steps_and_can_go_on_as_if_it_had_not(finished, tmp_path, capsys):
    _, flags = finished
    assert program.run_training(tmp_path, *flags, '--max_steps=7') == 0
    output = capsys.readouterr().out
    assert '15 steps in all, 0 done, up to step 7.' in output and 'Done: 7 steps of 15 (max_steps), in ' in output
    assert checkpoints.find(tmp_path / 'run', 'latest').step == 7
    assert program.run_training(tmp_path, '--name=run', '--continue_train') == 0
    assert 'Step 7 is done already, and max_steps is 7; raise it, or set --max_steps=0' in capsys.readouterr().out
    # At the end of an epoch, which is saved as one; then to the end.
    assert program.run_training(tmp_path, '--name=run', '--continue_train', '--max_steps=10') == 0
    assert checkpoints.find(tmp_path / 'run', '2').step == 10
    assert program.run_training(tmp_path, '--name=run', '--continue_train', '--max_steps=0') == 0
    assert 'Done: 15 steps, in ' in capsys.readouterr().out
    expected, found = program.weights(finished[0] / 'run'), program.weights(tmp_path / 'run')
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    rates = [float(value) for _, value in program.events(tmp_path / 'run')['learning_rate/G']]
    assert rates[0] == pytest.approx(0.0002) and rates[-1] == pytest.approx(0.0001)

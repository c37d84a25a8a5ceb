"""What a training run survives: kills, signals, full disks, folders that go, losses that are not finite."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs import checkpoints, lock
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.settings.training import Config
from cyclegan_tf.training import session
from tests.helpers import program

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='signals and file systems of POSIX')


@pytest.fixture
def quick(image_folders):
    """Flags of a small run on real files, five images an epoch."""
    return [*program.SMALL, f'--dataroot={image_folders}', '--name=run', '--lambda_identity=0']


@pytest.fixture
def real(quick):
    """The same with the real networks, for programs that are started as a user starts them, and for long steps."""
    return [*program.REAL, *quick[len(program.SMALL) :]]


def curves(run_directory):
    """tag -> [(step, value)] of losses, pictures' tag -> their steps; as TensorBoard reads them."""
    reader = EventAccumulator(str(run_directory), size_guidance={'tensors': 0})
    reader.Reload()
    result = {}
    for tag in reader.Tags()['tensors']:
        if tag.startswith('loss/'):
            result[tag] = [(e.step, tf.make_ndarray(e.tensor_proto).item()) for e in reader.Tensors(tag)]
        elif tag.startswith(('images/', 'test/', 'speed/', 'epoch')):
            result[tag] = [e.step for e in reader.Tensors(tag)]
    return result


def assert_same_run(expected, actual):
    one, other = program.weights(expected), program.weights(actual)
    assert one.keys() == other.keys() and len(one) > 50
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert curves(expected) == curves(actual)


def wait_for(process, text):
    """Reads the program's lines up to one that holds a text."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(process.communicate()[1])


# --------------------------------------------------------------------------------------------------------------- kills
@pytest.mark.slow
@pytest.mark.parametrize('kills, epochs', [(3, 6), pytest.param(20, 40, marks=pytest.mark.nightly)])
def test_kills_at_any_moment_change_nothing(quick, tmp_path, kills, epochs):
    kill_and_compare(tmp_path, [*quick, f'--n_epochs={epochs}', '--n_epochs_decay=0'], kills, epochs)


SIZES = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--load_size=36', '--crop_size=32', '--num_threads=2')


@pytest.mark.nightly
@pytest.mark.parametrize('seed', [1, 2])
@pytest.mark.parametrize(
    'model',
    [
        ('--model=cycle_gan', '--lambda_identity=0', '--pool_size=3'),
        ('--model=pix2pix', '--dataset_mode=paired'),  # with batch norm and dropout
        ('--model=cut',),
        ('--model=cut', '--CUT_mode=FastCUT'),
    ],
)
def test_kills_of_every_model_change_nothing(image_folders, tmp_path, model, seed):
    flags = [*model, *SIZES, f'--dataroot={image_folders}', '--name=run', '--n_epochs=3', '--n_epochs_decay=3']
    kill_and_compare(tmp_path, flags, 3, 6, seed)


def kill_and_compare(tmp_path, flags, kills, epochs, seed=0):
    """Trains a run with and without kills at random moments; both have to end alike."""
    flags = [*flags, '--save_latest_freq=1', '--print_freq=2']
    flags += ['--display_freq=7', '--save_epoch_freq=2', '--keep_checkpoints=2']
    assert program.run_training(tmp_path / 'through', *flags, small=False) == 0
    rng, steps = np.random.default_rng(seed), set()
    directory = tmp_path / 'killed' / 'run'
    for kill in range(kills):
        begun = (directory / 'latest' / 'checkpoint').exists()
        again = ['--continue_train'] if begun else []
        if directory.exists() and not begun:
            shutil.rmtree(directory)  # killed before its first checkpoint: nothing to continue
        process = program.start('train', *flags, *again, f'--checkpoints_dir={tmp_path / "killed"}')
        if kill % 5 == 4:
            time.sleep(rng.uniform(0, 5))  # while it imports, reads its checkpoint, or traces
        else:
            for _ in range(rng.integers(1, 5)):  # reports, of two steps each: the machine's speed does not matter
                wait_for(process, '  step ')
            time.sleep(rng.uniform(0, 0.4))  # in a step, a summary or a checkpoint
        process.kill()
        assert program.finish(process)[0] == -signal.SIGKILL
        if (directory / 'latest' / 'checkpoint').exists():
            steps.add(checkpoints.find(directory, 'latest').step)
    assert len(steps) > kills // 2 and max(steps) < 5 * epochs, steps
    assert program.run_training(tmp_path / 'killed', *flags, '--continue_train', small=False) == 0
    assert_same_run(tmp_path / 'through' / 'run', directory)


@pytest.mark.slow
def test_the_epochs_checkpoint_that_a_kill_left_out_is_made_up_for(quick, tmp_path):
    flags = [*quick, '--n_epochs_decay=0', '--save_epoch_freq=1']
    program.run_training(tmp_path, *flags, '--n_epochs=1', small=False)
    # As after a kill between the best of the first epoch and the epoch's own.
    (tmp_path / 'run' / 'epochs').rename(tmp_path / 'run' / 'best')
    program.run_training(tmp_path, *flags, '--n_epochs=2', '--continue_train', small=False)
    found = checkpoints.find_all(tmp_path / 'run')
    assert [one.epoch for one in found if not one.is_best] == [1, 2]


# ------------------------------------------------------------------------------------------------------------- signals
def test_before_training_a_signal_stops_at_once_and_gives_the_lock_back(quick, tmp_path):
    process = program.start('train', *quick, f'--checkpoints_dir={tmp_path}')
    wait_for(process, 'Network G_A')
    assert (tmp_path / 'run' / lock.NAME).exists()
    process.send_signal(signal.SIGTERM)
    status, output, error = program.finish(process)
    # At once: it did not train first.
    assert status == 143 and 'the state is saved' not in output, error
    assert not checkpoints.find_all(tmp_path / 'run')
    assert not (tmp_path / 'run' / lock.NAME).exists()


# Starts a program in a terminal of its own, and closes that once the program has printed what matches.
_IN_TERMINAL = """
import fcntl, os, pty, re, runpy, signal, struct, sys, termios
printed, module, *flags = sys.argv[1:]
process, terminal = pty.fork()
if not process:
    sys.stdout, sys.stderr = (open(number, 'w', buffering=1, closefd=False) for number in (1, 2))
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name='__main__', alter_sys=True)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 100, 0, 0))  # else a bar has no room
read = b''
while not re.search(printed.encode(), read):
    try:
        read += os.read(terminal, 1000)
    except OSError:  # the program has ended
        sys.exit(read.decode())
os.kill(process, signal.SIGHUP)  # as a shell does in addition to the kernel
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


def test_a_closed_terminal_stops_training_with_its_state_saved(quick, tmp_path):
    flags = [*quick, f'--checkpoints_dir={tmp_path}', '--n_epochs=2000']
    _, output, error = program.run_python('-c', _IN_TERMINAL, r'[1-9]\d*/\d+ \[', 'cyclegan_tf.train', *flags)
    assert output.strip() == '129', error
    assert checkpoints.find(tmp_path / 'run', 'latest').step >= 1
    assert not (tmp_path / 'run' / lock.NAME).exists()


def test_with_nohup_training_goes_on(quick, tmp_path):
    code = 'import runpy, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); runpy.run_module("cyclegan_tf.train", '
    flags = [*quick, f'--checkpoints_dir={tmp_path}', '--print_freq=1', '--n_epochs=1', '--n_epochs_decay=0']
    process = program.start_python('-c', code + 'run_name="__main__")', *flags)
    wait_for(process, 'step 2/')
    process.send_signal(signal.SIGHUP)
    status, output, error = program.finish(process)
    assert status == 0 and 'Done: 5 steps' in output, error


@pytest.mark.slow
def test_a_second_signal_stops_at_once(real, tmp_path):
    # Steps of about a second.
    larger = ['--load_size=128', '--crop_size=128', '--ngf=48', '--ndf=48', '--print_freq=2', '--display_freq=9']
    process = program.start('train', *real, *larger, f'--checkpoints_dir={tmp_path}')
    wait_for(process, 'step 2/')
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    status, output, error = program.finish(process)
    # At once: neither the step was finished nor the state saved.
    assert status == 130, error
    assert 'the state is saved' not in output and not checkpoints.find_all(tmp_path / 'run')
    assert not (tmp_path / 'run' / lock.NAME).exists()


# ---------------------------------------------------------------------------------------------- losses not finite
def spoil(monkeypatch, at, times):
    """Puts NaN into a weight after some steps, `times` times, as a step that went wrong would."""
    from cyclegan_tf.training.trainer import Trainer

    original, count = Console.advance, [0]
    trainers = []
    create = Trainer.__init__

    def remember(self, *arguments, **settings):
        create(self, *arguments, **settings)
        trainers.append(self)

    def advance(self, step, *arguments):
        original(self, step, *arguments)
        if step == at and count[0] < times:
            count[0] += 1
            variable = trainers[-1]._model.g_a.trainable_variables[0]
            variable.assign(tf.fill(variable.shape, np.nan))

    monkeypatch.setattr(Trainer, '__init__', remember)
    monkeypatch.setattr(Console, 'advance', advance)


@pytest.mark.slow
def test_rollback_goes_on_from_the_last_good_checkpoint_in_another_order(quick, tmp_path, monkeypatch, capsys):
    flags = [*quick, '--n_epochs=3', '--n_epochs_decay=0', '--save_latest_freq=1', '--print_freq=1']
    program.run_training(tmp_path / 'well', *flags, small=False)
    with monkeypatch.context() as patch:
        spoil(patch, at=6, times=1)
        # The checkpoint of step 6 holds the NaN already, and is passed over.
        assert program.run_training(tmp_path / 'ill', *flags, '--on_nan=rollback', small=False) == 0
    output = capsys.readouterr().out
    assert re.search(
        r'loss/\w+ is nan at step 7: training returns to step 5 and .* in another order \(rollback 1 of 3\)', output
    )
    well, ill = (program.weights(tmp_path / kind / 'run') for kind in ('well', 'ill'))
    assert all(np.isfinite(value).all() for name, value in ill.items() if 'plateau' not in name)
    assert int(ill['progress/rollbacks/.ATTRIBUTES/VARIABLE_VALUE']) == 1
    name = next(name for name in well if 'conv_in/kernel' in name)
    assert not np.array_equal(well[name], ill[name])
    well, ill = (curves(tmp_path / kind / 'run') for kind in ('well', 'ill'))
    assert [step for step, _ in ill['loss/G_A']] == list(range(1, 16))
    assert well['loss/G_A'][:5] == ill['loss/G_A'][:5] and well['loss/G_A'][5] != ill['loss/G_A'][5]


@pytest.mark.slow
def test_rollback_gives_up_after_three_times(quick, tmp_path, monkeypatch, capsys):
    spoil(monkeypatch, at=2, times=9)
    message = 'nan at step 3: training stops, and the checkpoint of step 0 is kept.* rolled back 3 times .*. Lower --lr'
    with pytest.raises(UserError, match=message):
        program.run_training(tmp_path, *quick, '--on_nan=rollback', '--print_freq=1', small=False)
    assert capsys.readouterr().out.count('returns to step 0') == 3
    # It can be gone on from, with a lower rate for instance.
    assert checkpoints.find(tmp_path / 'run', 'latest').step == 0


# --------------------------------------------------------------------------------------------------------------- disks
@pytest.fixture
def small_disk(tmp_path):
    """(a folder on a disk of its own, a function that fills it)."""
    place = tmp_path / 'disk'
    place.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16m', 'none', place], capture_output=True)

    def fill(process):
        if mounted.returncode:  # only root may mount; for others no file may grow any more
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            return
        with open(place / 'ballast', 'wb', buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    yield place, fill
    if mounted.returncode == 0:
        subprocess.run(['umount', place], check=True)


def one_sentence(process):
    """Status and complaint of a program that ends by itself, which must be one line without a traceback."""
    status, _, error = program.finish(process)
    lines = [line for line in error.splitlines() if line.startswith('cyclegan_tf.train:')]
    assert len(lines) == 1 and 'Traceback' not in error, error
    return status, lines[0]


@pytest.mark.slow
def test_a_full_disk_stops_training_with_one_sentence(quick, tmp_path, small_disk):
    place, fill = small_disk
    flags = [*quick, f'--checkpoints_dir={place}', '--save_latest_freq=2', '--print_freq=1', '--n_epochs=300']
    process = program.start('train', *flags)
    wait_for(process, 'step 6/')
    fill(process)
    status, message = one_sentence(process)
    assert status == 1 and re.search(
        r'could not be saved .*; the last good checkpoint is of step \d+\. Free some space', message
    )
    last = int(re.search(r'of step (\d+)', message)[1])
    found = checkpoints.find(place / 'run', 'latest')
    assert found.step == last >= 4 and checkpoints.verify(found) is None
    assert not [path for path in (place / 'run').rglob('*temp*')]
    (place / 'ballast').unlink(missing_ok=True)
    arguments = [f'--checkpoints_dir={place}', '--name=run', '--continue_train', '--n_epochs=3', '--n_epochs_decay=0']
    assert program.finish(program.start('train', *arguments))[0] == 0
    steps = [step for step, _ in curves(place / 'run')['loss/G_A']]
    assert steps == list(range(1, 16))


@pytest.mark.slow
def test_a_folder_that_is_removed_stops_training_with_one_sentence(quick, tmp_path):
    process = program.start('train', *quick, f'--checkpoints_dir={tmp_path}', '--save_latest_freq=2', '--print_freq=1')
    wait_for(process, 'step 3/')
    shutil.rmtree(tmp_path / 'run', ignore_errors=True)
    status, message = one_sentence(process)
    assert status == 1 and re.search(r'step \d+ could not be saved \(.*\); no checkpoint is left', message)


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_stops_training_with_one_sentence(real, tmp_path):
    flags = [*real, f'--checkpoints_dir={tmp_path}', '--save_latest_freq=2', '--print_freq=1']
    # Root may write anywhere, unless that is taken from it.
    as_others = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] if os.getuid() == 0 else []
    process = program.start('train', *flags, prefix=as_others)
    wait_for(process, 'step 5/')
    folders = [tmp_path / 'run' / 'latest', tmp_path / 'run']
    for folder in folders:
        folder.chmod(0o555)
    try:
        status, message = one_sentence(process)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert status == 1 and re.search(r'could not be saved \(.*ermission denied.*\); the last good', message)
    found = checkpoints.find(tmp_path / 'run', 'latest')
    assert checkpoints.verify(found) is None and f'of step {found.step}.' in message


# -------------------------------------------------------------------------------------------------------------- memory
@pytest.mark.slow
def test_memory_that_is_not_enough_is_one_sentence_with_what_helps(real, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))

    flags = [*real, f'--checkpoints_dir={tmp_path}', '--load_size=256', '--crop_size=256', '--pool_size=20000']
    status, message = one_sentence(program.start('train', *flags, preexec_fn=limit))
    assert status == 1 and '--crop_size (now 256)' in message and '--pool_size (20000)' in message
    assert 'set --recompute_grads, or lower ' in message


@pytest.mark.parametrize('settings', [dict(norm='batch'), dict(recompute_grads=True)])
def test_recomputing_is_no_help_where_it_is_on_or_cannot_be(settings):
    assert 'recompute' not in str(session.out_of_memory(Config(dataroot='demo', **settings)))


LONG_RUN = """
import os, sys
from tests.helpers import program
import psutil
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.training.trainer import Trainer

advance, seen, trainers, create = Console.advance, {}, [], Trainer.__init__

def remember(self, *arguments):
    create(self, *arguments)
    trainers.append(self)

begin, end = int(sys.argv.pop(1)), int(sys.argv.pop(1))

def look(self, step, *arguments):
    advance(self, step, *arguments)
    if step >= begin and not seen or step == end:
        process = psutil.Process()
        seen[step] = process.memory_info().rss, process.num_fds(), process.num_threads()

Console.advance, Trainer.__init__ = look, remember
status = program.run_training(*sys.argv[1:], small=False)
print(status, trainers[0]._run_steps.experimental_get_tracing_count(), *(n for one in seen.values() for n in one))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize('begin, end', [(100, 300), pytest.param(200, 2000, marks=pytest.mark.nightly)])
def test_many_steps_take_no_more_memory_files_or_traces(quick, tmp_path, begin, end):
    flags = [*quick, '--dataroot=demo', '--max_dataset_size=50', f'--n_epochs={end // 50}', '--n_epochs_decay=0']
    flags += ['--ngf=2', '--ndf=2', f'--display_freq={begin // 2}', f'--save_latest_freq={begin // 2}']
    flags += ['--save_epoch_freq=1' if end < 1000 else '--save_epoch_freq=10']
    status, output, error = program.run_python('-c', LONG_RUN, begin, end, tmp_path, *flags, timeout=1200)
    assert status == 0, error
    status, traces, *numbers = (int(word) for word in output.splitlines()[-1].split())
    assert (status, traces) == (0, 1)
    (memory, files, _), (memory_at_end, files_at_end, _) = numbers[:3], numbers[3:]
    assert memory_at_end < 1.05 * memory and files_at_end == files, numbers


@pytest.mark.slow
@pytest.mark.parametrize(
    'flags, expected', [((), True), pytest.param(('--deterministic=false',), False, marks=pytest.mark.nightly)]
)
def test_deterministic_is_on_for_cpus(quick, tmp_path, flags, expected):
    script = (
        'import sys; from tests.helpers import program;'
        'from tensorflow.python.framework import config;'
        "program.run_training(*sys.argv[1:], '--n_epochs=1', '--n_epochs_decay=0', small=False);"
        'print(config.is_op_determinism_enabled(), flush=True); import os; os._exit(0)'
    )
    _, output, error = program.run_python('-c', script, tmp_path, *quick, *flags)
    assert output.splitlines()[-1] == str(expected), error

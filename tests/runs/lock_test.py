"""The lock of a run's directory: who is refused, what is taken over, what is left."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs.lock import NAME, RunLock
from tests.helpers import program

# As on a file system without it, of which there is none at hand.
NO_FLOCK = """
import errno, fcntl, os
def flock(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
fcntl.flock = flock
"""
HOLD = """
import os, pathlib, sys, time
from cyclegan_tf.runs.lock import RunLock
with RunLock(pathlib.Path(sys.argv[1])) as lock:
    print(lock.taken_over and lock.taken_over.process, lock.warning)
    print('held', flush=True)
    sys.stdin.read()
"""
# A child that lives on, and has all that was open in its parent.
WITH_CHILD = HOLD.replace(
    '    print(lock',
    """\
    child = os.fork()
    if child == 0:
        os.closerange(0, 3)
        time.sleep(100)
        os._exit(0)
    print(child)
    print(lock""",
)
# For each line, which names a directory: 'held', until the next line, or 'refused'.
TAKE = """
import pathlib, sys
from cyclegan_tf.errors import UserError
from cyclegan_tf.runs.lock import RunLock
print('held', flush=True)
while line := sys.stdin.readline():
    try:
        with RunLock(pathlib.Path(line.strip())):
            print('held', flush=True)
            sys.stdin.readline()
    except UserError:
        print('refused', flush=True)
"""
# Takes and gives back for two seconds; fails if another is inside at the same time.
TAKE_OFTEN = """
import os, pathlib, sys, time
from cyclegan_tf.errors import UserError
from cyclegan_tf.runs.lock import RunLock
directory, times, end = pathlib.Path(sys.argv[1]), 0, time.monotonic() + 2
print('held', flush=True)
while time.monotonic() < end:
    try:
        with RunLock(directory):
            os.close(os.open(directory / 'inside', os.O_CREAT | os.O_EXCL))
            os.unlink(directory / 'inside')
            times += 1
    except UserError:
        pass
print(times)
"""


def start(directory, code):
    """Starts Python code that is given a directory."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, '-c', code, directory], cwd=program.ROOT, **pipes)


def in_process(directory, code=HOLD):
    """The same, when it says that it holds the lock; HOLD gives it back at the end of its standard input."""
    process = start(directory, code)
    process.before = []
    while (line := process.stdout.readline()) != 'held\n':
        assert line, process.communicate()[1]
        process.before.append(line)
    return process


def kill(process):
    process.kill()
    process.communicate()


def left_behind(directory, **changes):
    """Writes the lock that a killed process of this machine left behind, but for these changes; None takes out."""
    (directory / NAME).unlink(missing_ok=True)
    kill(in_process(directory))
    values = {**json.loads((directory / NAME).read_text()), **changes}
    values = {name: value for name, value in values.items() if value is not None}
    (directory / NAME).write_text(json.dumps(values))
    return values


def test_the_second_process_is_refused_until_the_first_is_done(tmp_path):
    first = in_process(tmp_path)
    with pytest.raises(UserError, match=f'is in use by process {first.pid} on .*; wait for it or stop it, or set'):
        RunLock(tmp_path).__enter__()
    first.communicate('')
    with RunLock(tmp_path) as lock:
        assert lock.taken_over is None
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    first = in_process(tmp_path)
    first.kill()
    first.communicate()
    with RunLock(tmp_path) as lock:
        assert lock.taken_over.process == first.pid
        assert json.loads((tmp_path / NAME).read_text())['process'] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_taken_over_whoever_has_its_number_by_now(tmp_path):
    with RunLock(tmp_path):
        own = json.loads((tmp_path / NAME).read_text())  # of a process that lives
    left_behind(tmp_path, **own)
    with RunLock(tmp_path) as lock:
        assert lock.taken_over.process == os.getpid()


@pytest.mark.skipif(not pathlib.Path('/proc/self/stat').exists(), reason='the kernel does not tell')
def test_of_earlier_versions_number_and_birth_decide(tmp_path):
    with RunLock(tmp_path):
        own = json.loads((tmp_path / NAME).read_text())
    left_behind(tmp_path, **{**own, 'flock': None})
    with pytest.raises(UserError, match=f'is in use by process {os.getpid()} on .*; wait for it or stop it, or set'):
        RunLock(tmp_path).__enter__()
    left_behind(tmp_path, process=1, flock=None)  # process 1 runs always, but since another moment
    with RunLock(tmp_path) as lock:
        assert lock.taken_over.process == 1


def test_a_child_that_lives_on_keeps_no_lock(tmp_path):
    for end in (kill, lambda process: process.communicate('')):
        process = in_process(tmp_path, WITH_CHILD)
        try:
            end(process)
            with RunLock(tmp_path) as lock:
                assert (lock.taken_over is not None) == (end is kill)
        finally:
            os.kill(int(process.before[0]), signal.SIGKILL)


@pytest.mark.parametrize('flock', [None, False, True])
def test_the_lock_of_another_machine_is_refused_with_what_to_do(tmp_path, flock):
    left = dict(host=socket.gethostname() + '-2', process=1, birth='', since='2020-01-01 00:00:00', flock=flock)
    left = left_behind(tmp_path, **left)
    for _ in range(2):  # it stays as it is
        with pytest.raises(UserError, match='process 1 on .*-2, since 2020.*if that process no longer exists, delete'):
            RunLock(tmp_path).__enter__()
        assert json.loads((tmp_path / NAME).read_text()) == left
    (tmp_path / NAME).write_text('{')
    with pytest.raises(UserError, match='does not name the process that trains this run .*; if none does, delete it'):
        RunLock(tmp_path).__enter__()


def test_another_machine_whose_flock_is_seen_here_is_alive(tmp_path):
    process = in_process(tmp_path)
    values = {**json.loads((tmp_path / NAME).read_text()), 'host': socket.gethostname() + '-2'}
    (tmp_path / NAME).write_text(json.dumps(values))
    with pytest.raises(UserError, match='is in use by process .*-2, since .*; wait for it or stop it, or set another'):
        RunLock(tmp_path).__enter__()
    for text in ('', '{'):  # as while it is written
        (tmp_path / NAME).write_text(text)
        with pytest.raises(UserError, match='is in use by another process; wait for it or stop it, or set another'):
            RunLock(tmp_path).__enter__()
    kill(process)


def test_of_many_that_find_a_lock_left_behind_one_gets_it(tmp_path):
    first = in_process(tmp_path)
    first.kill()
    first.communicate()
    got, refused = [], []

    def take():
        try:
            got.append(RunLock(tmp_path).__enter__())
        except UserError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(20)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert (len(got), len(refused)) == (1, 19)


def test_of_two_processes_that_find_a_lock_left_behind_one_gets_it(tmp_path):
    left_behind(tmp_path)
    left = (tmp_path / NAME).read_text()
    processes = [in_process(tmp_path, TAKE) for _ in range(2)]
    for _ in range(30):
        (tmp_path / NAME).write_text(left)
        for process in processes:
            print(tmp_path, file=process.stdin, flush=True)
        answers = [process.stdout.readline() for process in processes]
        assert sorted(answers) == ['held\n', 'refused\n']
        print(file=processes[answers.index('held\n')].stdin, flush=True)
    assert [process.communicate('')[0] for process in processes] == ['', '']
    assert not list(tmp_path.iterdir())


def test_two_never_have_it_while_it_goes_from_hand_to_hand(tmp_path):
    processes = [in_process(tmp_path, TAKE_OFTEN) for _ in range(4)]
    times = [int(process.communicate()[0] or 0) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4 and sum(times) > 50, times


def test_without_flock_number_and_birth_decide(tmp_path):
    first = in_process(tmp_path, NO_FLOCK + HOLD)
    assert not json.loads((tmp_path / NAME).read_text())['flock']
    refused = f'is in use by process {first.pid} on .*; wait for it or stop it, or set another'
    with pytest.raises(UserError, match=refused):  # by one that has flock, and nobody else has it
        RunLock(tmp_path).__enter__()
    second = start(tmp_path, NO_FLOCK + HOLD)
    assert re.search(f'UserError: .*{refused}', second.communicate()[1])
    kill(first)
    third = in_process(tmp_path, NO_FLOCK + HOLD)
    number, warning = third.before[0].split(maxsplit=1)
    assert int(number) == first.pid
    assert 'has no flock (Function not implemented), so only the machine, process and start time' in warning
    third.communicate('')
    assert not list(tmp_path.iterdir())


def test_without_flock_of_two_that_came_at_once_the_first_is_refused(tmp_path):
    with RunLock(tmp_path):
        second = (tmp_path / NAME).read_text()
    first = start(tmp_path, NO_FLOCK + HOLD)
    while not ((tmp_path / NAME).exists() and (tmp_path / NAME).stat().st_size):
        assert first.poll() is None
        time.sleep(0.01)
    (tmp_path / NAME).write_text(second)  # of one that had looked before the first was named
    assert f"UserError: run '{tmp_path}' is in use by process {os.getpid()} on" in first.communicate()[1]
    assert (tmp_path / NAME).read_text() == second


@pytest.mark.slow
def test_training_without_flock_says_so_and_goes_on(image_folders, tmp_path):
    code = NO_FLOCK + (
        'import sys; from tests.helpers import program\n'
        'status = program.run_training(*sys.argv[1:]); sys.stdout.flush(); os._exit(status)'
    )
    flags = (f'--dataroot={image_folders}', '--name=run', '--n_epochs=1', '--n_epochs_decay=0')
    status, output, error = program.run_python('-c', code, tmp_path, *flags)
    assert status == 0, error
    assert output.count('Warning: the file system of') == 1 and 'Done: 5 steps' in output
    assert not (tmp_path / 'run' / NAME).exists()


@pytest.mark.slow
def test_training_holds_the_lock_and_gives_it_back_after_a_signal(image_folders, tmp_path):
    flags = [*program.SMALL, f'--dataroot={image_folders}', f'--checkpoints_dir={tmp_path}', '--name=run']
    first = program.start('train', *flags, '--print_freq=1', '--n_epochs=100')
    for line in first.stdout:
        if 'step 1/' in line:
            break
    with pytest.raises(UserError, match=f'is in use by process {first.pid}'):
        program.run_training(tmp_path, f'--dataroot={image_folders}', '--name=run', '--continue_train')
    assert (tmp_path / 'run' / NAME).exists()
    first.send_signal(signal.SIGTERM)
    assert program.finish(first)[0] == 143
    assert not (tmp_path / 'run' / NAME).exists()
    # Killed at once, it leaves the lock behind; the next one says whose it was.
    second = program.start('train', '--name=run', f'--checkpoints_dir={tmp_path}', '--continue_train')
    for line in second.stdout:
        if 'Run directory' in line:
            second.kill()
            break
    program.finish(second)
    more = ['--n_epochs=1', '--n_epochs_decay=0', '--continue_train']
    third = program.start('train', '--name=run', f'--checkpoints_dir={tmp_path}', *more)
    status, output, error = program.finish(third)
    assert status == 0, error
    assert f'Took over the lock of process {second.pid} on ' in output

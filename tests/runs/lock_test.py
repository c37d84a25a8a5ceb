"""The lock of a run's directory: who is refused, what is taken over, what is left."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs.lock import NAME, RunLock
from tests.helpers import program


def in_process(directory):
    """Python code that holds the lock, in a process of its own; it says so and waits for its standard input."""
    code = f"""
import pathlib, sys
from cyclegan_tf.runs.lock import RunLock
with RunLock(pathlib.Path({str(directory)!r})):
    print('held', flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, '-c', code], cwd=program.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'held\n'
    return process


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


@pytest.mark.skipif(not pathlib.Path('/proc/self/stat').exists(), reason='the kernel does not tell')
def test_a_number_that_another_process_has_by_now_counts_as_gone(tmp_path):
    with RunLock(tmp_path):
        left = json.loads((tmp_path / NAME).read_text())
    left['process'], left['birth'] = 1, left['birth'].split()[0] + ' 999999999999'  # process 1 runs always
    (tmp_path / NAME).write_text(json.dumps(left))
    with RunLock(tmp_path) as lock:
        assert lock.taken_over.process == 1


def test_the_lock_of_another_machine_is_refused_with_what_to_do(tmp_path):
    left = {'host': socket.gethostname() + '-2', 'process': 1, 'birth': '', 'since': '2020-01-01 00:00:00'}
    (tmp_path / NAME).write_text(json.dumps(left))
    with pytest.raises(UserError, match='process 1 on .*-2, since 2020.*if that process is no more, delete .*lock'):
        RunLock(tmp_path).__enter__()
    (tmp_path / NAME).write_text('{')
    with pytest.raises(UserError, match='says not who trains this run .*; if nobody does, delete it'):
        RunLock(tmp_path).__enter__()


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

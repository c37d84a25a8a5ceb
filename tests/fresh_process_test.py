"""Forked programs are as started ones: their streams, ends and signals, several at once, with one CPU."""

import signal
import subprocess

import pytest

from tests.helpers import fresh_process, program

# Both kinds of process are held to it.
# The real ones take their time, and are what the forked ones are compared with.
pytestmark = pytest.mark.parametrize('real', [False, pytest.param(True, marks=pytest.mark.nightly)])


def test_it_is_forked_unless_it_is_to_be_real(real):
    process = program.start_python('-c', 'pass', real=real)
    assert isinstance(process, subprocess.Popen if real else fresh_process.Process)
    assert program.finish(process) == (0, '', '')


def test_lines_are_read_while_it_runs_and_a_signal_is_its_status(real):
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = program.start_python('-c', 'import time; print("on"); time.sleep(100)', real=real)
        assert process.stdout.readline() == 'on\n' and process.poll() is None
        process.send_signal(number)
        assert program.finish(process) == (-number, '', '')


def test_a_signal_reaches_its_own_handler(real):
    code = 'import signal, time; signal.signal(15, lambda *_: exit(143)); print("on"); time.sleep(100)'
    process = program.start_python('-c', code, real=real)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert program.finish(process) == (143, '', '')


@pytest.mark.parametrize(
    'code, status, error',
    [
        ('import sys; sys.exit(3)', 3, ''),
        ('raise SystemExit("a sentence")', 1, 'a sentence\n'),
        ('import os; os._exit(4)', 4, ''),
        ('import sys; assert sys.stdin.read() == "" and sys.argv == ["-c", "x"]', 0, ''),
        ('import os; assert os.environ["SOME"] == "text"', 0, ''),
    ],
)
def test_how_it_ends(real, code, status, error):
    assert program.run_python('-c', code, 'x', real=real, SOME='text') == (status, '', error)


def test_an_exception_is_a_status_and_a_traceback(real):
    status, _, error = program.run_python('-c', 'raise ValueError("of this kind")', real=real)
    assert status == 1 and 'Traceback' in error and error.endswith('ValueError: of this kind\n')


def test_several_compute_at_once_on_one_cpu_each(real):
    code = (
        'import sys, cyclegan_tf, tensorflow as tf\n'
        'ones = tf.function(lambda n: tf.reduce_sum(tf.ones([n, 1000]) @ tf.ones([1000, 1])))\n'
        'print(len(tf.config.list_logical_devices("CPU")), int(ones(int(sys.argv[1]))))'
    )
    processes = [program.start_python('-c', code, n, real=real) for n in (1, 2, 3)]
    for n, process in enumerate(processes, start=1):
        status, output, error = program.finish(process)
        assert (status, output) == (0, f'1 {n}000\n'), error


def test_one_that_does_not_end_is_told(real):
    process = program.start_python('-c', 'import time; time.sleep(100)', real=real)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.1)
    process.kill()
    assert process.wait() == -signal.SIGKILL

"""What is left out while TensorFlow is imported, and what is not."""

import gc
import os
import re
import subprocess
import sys
import time

import pytest

from cyclegan_tf.runtime import allocator, importing
from tests.helpers.program import ROOT, run_python

INFORMATION = 'I0000 00:00:1796074193.938531   18782 port.cc:153] oneDNN custom operations are on.'
START = 'WARNING: All log messages before absl::InitializeLog() is called are written to STDERR'
ERROR = 'E0000 00:00:1796074193.938531   18782 cuda_dnn.cc:12] no cuDNN'
IMPORT = """
import os, subprocess, sys
from cyclegan_tf.runtime import allocator, importing
def say(text):
    os.write(2, text.encode())
with importing.without_information():
    {}
say('after\\n')
"""


def test_python_does_not_look_for_garbage_meanwhile():
    try:
        with importing.tensorflow():
            assert not gc.isenabled()
        assert gc.isenabled() and gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def run(what):
    """Exit status and standard error of a process that does this where TensorFlow would be imported."""
    done = subprocess.run(
        [sys.executable, '-c', IMPORT.format(what)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    'lines, kept',
    [
        ([START, INFORMATION, INFORMATION, 'other', INFORMATION], ['other']),
        ([START, ERROR, 'I am no information'], [ERROR, 'I am no information']),
        ([f'  {INFORMATION}', ''], [f'  {INFORMATION}', '']),
    ],
)
def test_lines_of_information_are_left_out_and_all_others_arrive_in_order(lines, kept):
    text = ''.join(f'{line}\n' for line in lines)
    # Written in pieces, too, since a line may come in parts.
    for size in (7, len(text)):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        status, error = run(f'[say(piece) for piece in {pieces!r}]')
        assert (status, error.splitlines()) == (0, [*kept, 'after'])


def test_a_long_line_arrives():
    status, error = run("say('x' * 200_000 + '\\n')")
    assert (status, error) == (0, 'x' * 200_000 + '\nafter\n')


def test_python_writes_there_too_and_an_exception_arrives():
    status, error = run("print('unfinished', end='', file=sys.stderr); raise KeyError('lost')")
    assert status == 1
    assert error.startswith('unfinishedTraceback') and error.endswith("KeyError: 'lost'\n")


def test_what_is_said_by_a_process_that_crashes_arrives():
    status, error = run(f"say('the reason\\n{INFORMATION}\\nin two'); os.abort()")
    assert (status, error) == (-6, 'the reason\nin two')


def test_a_process_that_was_started_meanwhile_and_goes_on_holds_nothing_up():
    begin = time.monotonic()
    status, error = run(
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'], stdout=subprocess.DEVNULL)"
    )
    assert (status, error) == (0, 'after\n') and time.monotonic() - begin < 15


def test_no_process_is_left_after_the_import():
    status, error = run('pass')
    assert (status, error) == (0, 'after\n')
    status, error = run("pass\ntry:\n    os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError:\n    say('none\\n')")
    assert (status, error) == (0, 'none\nafter\n')


@pytest.mark.parametrize(
    'version, level, expected',
    [('2.15.1', '3', False), ('2.21.0', '3', True), ('2.21.0', '1', True), ('2.21.0', '0', False)],
)
def test_only_newer_tensorflows_are_filtered_unless_information_is_asked_for(monkeypatch, version, level, expected):
    monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', level)
    monkeypatch.setattr(importing.importlib.metadata, 'version', lambda package: version)
    assert not importing._informs()  # TensorFlow has been imported
    monkeypatch.delitem(sys.modules, 'tensorflow')
    assert importing._informs() == expected
    monkeypatch.setattr(sys, 'stderr', None)  # closed when the program started
    assert not importing._informs()


def test_a_tensorflow_of_another_name_is_imported_as_it_is(monkeypatch):
    def version(package):
        raise importing.importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '3')
    monkeypatch.delitem(sys.modules, 'tensorflow')
    monkeypatch.setattr(importing.importlib.metadata, 'version', version)
    assert not importing._informs()


def test_a_training_shows_nothing_of_the_import_and_has_huge_pages(tmp_path):
    flags = ['--dataroot=demo', '--load_size=36', '--crop_size=32', '--ngf=4', '--ndf=4', '--netG=resnet_6blocks']
    flags += [f'--checkpoints_dir={tmp_path}', f'--cache_dir={tmp_path}', '--max_steps=1', '--no_html', '--verbose']
    status, output, error = run_python('-m', 'cyclegan_tf.train', *flags, real=True, TF_CPP_MIN_LOG_LEVEL='3')
    assert status == 0, error
    lines = [line for line in error.splitlines() if importing._INFORMATION.match(os.fsencode(line))]
    later = 'InitializeLog', '] Compiled cluster using XLA!'  # when TensorFlow 2.15 compiles the augmentation
    assert [line for line in lines if not any(words in line for words in later)] == []
    if allocator.tunables_for_huge_pages(None) is not None:
        assert int(re.search(r'; ([\d,]+) MB of memory in huge pages', output).group(1).replace(',', '')) > 0

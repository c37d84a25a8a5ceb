"""Weights & Biases: what it gets, also of runs that are resumed, killed or taken back, and what its failures do."""

import json
import re
import signal
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from cyclegan_tf.errors import UserError
from tests.helpers import program
from tests.helpers.wandb_files import Logged

extras = pytest.mark.extras


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('HOME', str(tmp_path))  # with no account
    monkeypatch.setenv('WANDB_SILENT', 'true')
    monkeypatch.setenv('WANDB_ERROR_REPORTING', 'false')
    # WANDB_SERVICE: with it, processes that a test starts would use this one's service.
    for variable in ('WANDB_API_KEY', 'WANDB_DIR', 'WANDB_PROJECT', 'WANDB_RUN_ID', 'WANDB_SERVICE'):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def flags(image_folders):
    """Of a run with five steps an epoch, and a report after each."""
    return [f'--dataroot={image_folders}', '--name=run', '--use_wandb', '--print_freq=1', '--save_epoch_freq=1']


def curve(run, tag):
    """[(step, value)] in TensorBoard."""
    return [(step, float(value)) for step, value in program.events(run)[tag]]


def assert_rows_grow(logged):
    numbers = [row['_step'] for row in logged.rows]
    assert numbers == sorted(set(numbers))  # others are dropped when they are uploaded


@extras
def test_it_gets_what_tensorboard_gets_and_a_resumed_run_goes_on_there(tmp_path, flags):
    more = ['--wandb_project_name=mine', '--display_freq=4', '--eval_freq=1', '--eval_metrics=psnr', '--lr=0.001']
    assert program.run_training(tmp_path, *flags, *more, '--max_steps=7') == 0
    assert program.run_training(tmp_path, '--name=run', '--continue_train', '--max_steps=12') == 0
    run = tmp_path / 'run'
    logged, shown = Logged(run), program.events(run)
    assert_rows_grow(logged)
    scalars = {tag for tag, points in shown.items() if getattr(points[0][1], 'dtype', np.dtype('O')).kind == 'f'}
    pictures = {'images/A_to_B', 'images/B_to_A', 'test/A_to_B', 'test/B_to_A'}
    assert logged.tags() == scalars | pictures and len(scalars) > 20 and 'eval/psnr_AtoB' in scalars
    for tag in scalars:
        assert logged.points(tag) == [(step, pytest.approx(value, rel=1e-6)) for step, value in curve(run, tag)], tag
    for tag in pictures:
        files = logged.pictures(tag)
        assert list(files) == [step for step, _ in shown[tag]]
        last, sheet = list(files)[-1], shown[tag][-1][1]
        with Image.open(files[last]) as picture:
            assert picture.size == tuple(int(side) for side in sheet[:2]) and np.ptp(np.asarray(picture)) > 50
    assert logged.metrics['*'] == 'step'
    one, other = logged.runs
    assert one.run_id == other.run_id == json.loads((run / 'wandb.json').read_text())['id']
    assert one.project == 'mine' and one.display_name == 'run' and logged.exits == [0, 0]
    config = {item.key: json.loads(item.value_json) for item in other.config.update}
    assert config['lr'] == 0.001 and config['max_steps'] == 12


def start(place, *flags):
    """Starts a training in a process of its own."""
    return program.start('train', *program.SMALL, *flags, f'--checkpoints_dir={place}')


def wait_for_steps(process, count):
    """Reads the program's lines up to so many reports."""
    seen = 0
    for line in process.stdout:
        seen += '  step ' in line
        if seen == count:
            return
    raise AssertionError(process.communicate()[1])


def services(place):
    """Wandb's processes that write into a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if 'wandb' in process.name() and any(file.path.startswith(str(place)) for file in process.open_files()):
                found.append(process)
        except psutil.Error:  # it has just ended
            continue
    return found


def wait_for_end(place):
    """Waits until wandb's processes have noticed that the training has gone."""
    end = time.monotonic() + 20
    while services(place):
        assert time.monotonic() < end
        time.sleep(0.1)


posix = pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX')


@extras
@posix
def test_after_kills_nothing_is_logged_twice(tmp_path, flags):
    flags = [*flags, '--save_latest_freq=7', '--save_epoch_freq=99', '--display_freq=2']
    run, reached = tmp_path / 'run', []
    for kill in range(3):
        process = start(tmp_path, *flags, *(['--continue_train'] if kill else []))
        wait_for_steps(process, 60)
        time.sleep(0.13 * kill)
        process.kill()
        assert program.finish(process)[0] == -signal.SIGKILL
        wait_for_end(tmp_path)
        reached.append(json.loads((run / 'wandb.json').read_text())['step'])
    end = reached[-1] + 9
    assert program.run_training(tmp_path, '--name=run', '--continue_train', f'--max_steps={end}') == 0
    logged = Logged(run)
    assert_rows_grow(logged)
    assert len(logged.runs) == 4 and len({one.run_id for one in logged.runs}) == 1 and logged.exits == [0]
    expected = dict(curve(run, 'loss/cycle_B'))
    steps = [step for step, _ in logged.points('loss/cycle_B')]
    assert dict(logged.points('loss/cycle_B')) == {step: pytest.approx(expected[step]) for step in steps}
    assert steps == sorted(set(steps))
    # What wandb's own process had not yet written at a kill is missing, and that alone.
    missing = set(range(1, end + 1)) - set(steps)
    assert all(any(0 <= at - step < 40 for at in reached) for step in missing)
    assert steps[-9:] == list(range(end - 8, end + 1))
    for tag in ('images/A_to_B', 'test/A_to_B'):
        shown = [step for step, _ in logged.points(tag)]
        assert len(shown) > 10 and shown == sorted(set(shown))
        assert set(shown) <= {step for step, _ in program.events(run)[tag]}


@extras
def test_what_is_trained_in_another_way_is_logged_although_it_goes_back(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--max_steps=12')
    program.run_training(tmp_path, '--name=run', '--continue_train', '--epoch=1', '--lr=0.01', '--max_steps=9')
    logged = Logged(tmp_path / 'run')
    assert_rows_grow(logged)
    assert [step for step, _ in logged.points('loss/G_A')] == [*range(1, 13), *range(6, 10)]
    assert logged.points('learning_rate/G')[-1] == (9, pytest.approx(0.01))


@extras
@posix
def test_a_signal_ends_it_cleanly(tmp_path, flags):
    process = start(tmp_path, *flags)
    wait_for_steps(process, 5)
    assert services(tmp_path)
    process.send_signal(signal.SIGTERM)
    status, output, error = program.finish(process)
    assert status == 143 and 'the state is saved' in output, error
    logged = Logged(tmp_path / 'run')
    assert logged.exits == [143]
    assert logged.points('loss/G_A') == [
        (step, pytest.approx(value)) for step, value in curve(tmp_path / 'run', 'loss/G_A')
    ]
    wait_for_end(tmp_path)


@extras
@posix
def test_when_its_service_dies_training_says_so_and_goes_on(tmp_path, flags):
    process = start(tmp_path, *flags, '--max_steps=400', '--save_epoch_freq=20')
    wait_for_steps(process, 5)
    for service in services(tmp_path):
        service.kill()
    status, output, error = program.finish(process)
    assert status == 0 and output.count('Warning: Weights & Biases has failed (') == 1, error
    assert 'Traceback' not in error and 'Done: 400 steps' in output
    assert len(curve(tmp_path / 'run', 'loss/G_A')) == 400
    assert program.run_training(tmp_path, '--name=run', '--continue_train', '--max_steps=405') == 0
    logged = Logged(tmp_path / 'run')
    assert [step for step, _ in logged.points('loss/G_A')][-5:] == list(range(401, 406)) and logged.exits == [0]


@extras
def test_an_error_ends_it_as_failed(tmp_path, image_folders, flags):
    (image_folders / 'trainA/0.png').write_bytes(b'')
    with pytest.raises(UserError, match='0.png'):
        program.run_training(tmp_path, *flags)
    assert Logged(tmp_path / 'run').exits == [1]


@extras
@pytest.mark.parametrize('text', ['{"id": "abc"', '{"id": "abc", "more": 1}', '{"id": 3}', '[]'])
def test_a_damaged_record_is_one_sentence(tmp_path, flags, text):
    program.run_training(tmp_path, *flags, '--max_steps=1', '--use_wandb=false')
    (tmp_path / 'run/wandb.json').write_text(text)
    with pytest.raises(UserError, match="wandb.json' is damaged; delete it, with which a new run begins there"):
        program.run_training(tmp_path, '--name=run', '--continue_train', '--use_wandb', '--max_steps=2')


@extras
def test_it_leaves_the_terminal_to_training(tmp_path, flags, monkeypatch):
    monkeypatch.delenv('WANDB_SILENT')
    status, output, error = program.finish(start(tmp_path, *flags, '--max_steps=5'))
    lines = [line for line in (output + error).splitlines() if line.startswith('wandb:')]
    assert status == 0 and 0 < len(lines) < 8 and 'loss/' not in ''.join(lines), lines


@extras
def test_without_an_account_it_is_one_sentence_before_images_are_read(tmp_path, flags, monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'online')
    status, _, error = program.finish(start(tmp_path, '--dataroot=/nowhere', *flags[1:]))
    line = error.splitlines()[-1]
    assert status == 1 and re.search(r'`use_wandb` \(true\) cannot begin \(.*\); log in with `wandb login`', line), (
        error
    )
    assert 'Traceback' not in error


@extras
def test_it_is_imported_by_its_users_alone(tmp_path, flags):
    code = (
        'import os, sys; from tests.helpers import program; program.run_training(*sys.argv[1:]);'
        'print("wandb" in sys.modules, flush=True); os._exit(0)'
    )
    for use, imported in (('true', 'True'), ('false', 'False')):
        arguments = [tmp_path / use, *flags, '--max_steps=1', f'--use_wandb={use}']
        _, output, error = program.run_python('-c', code, *arguments)
        assert output.split()[-1:] == [imported], error


def test_without_the_package_it_is_one_sentence_before_images_are_read(tmp_path, flags, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(UserError, match=r"`use_wandb` \(true\) needs the package wandb.*extra 'wandb'"):
        program.run_training(tmp_path, '--dataroot=/nowhere', *flags[1:])

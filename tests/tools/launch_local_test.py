"""The launcher of local clusters: real workers, their output, signals and exit statuses; how GPUs are shared."""

import pathlib
import signal
import subprocess
import sys

import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs import checkpoints
from tests.helpers import program

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'

import launch_local  # noqa: E402

# A step an epoch, and all that only the chief does after each.
FLAGS = (
    *program.REAL, '--lambda_identity=0', '--netD=n_layers', '--n_layers_D=1', '--norm=batch',
    '--n_epochs=500', '--save_epoch_freq=1', '--keep_checkpoints=2', '--eval_freq=1',
    '--keep_best=cycle', '--cache=disk',
)  # fmt: skip


@pytest.mark.nightly  # distribution/devices_test and train_cluster_test have two workers that train
@pytest.mark.slow
@pytest.mark.parametrize('workers', [2, 3])
def test_workers_of_which_the_chief_alone_writes_stop_together(image_folders, tmp_path, workers):
    cache = tmp_path / 'cache'
    flags = (f'--dataroot={image_folders}', f'--checkpoints_dir={tmp_path}', '--name=run', f'--cache_dir={cache}')
    flags += (f'--batch_size={workers}', f'--max_dataset_size={workers}')  # an epoch is a step
    launcher = program.start_python('tools/launch_local.py', f'--workers={workers}', '--', *FLAGS, *flags)
    for line in launcher.stdout:
        if line.startswith('Test images after epoch 2:'):
            break
    launcher.send_signal(signal.SIGTERM)
    status, output, error = program.finish(launcher)
    assert status == 143, output + error
    assert 'SIGTERM at step ' in output

    run = tmp_path / 'run'
    step = checkpoints.find(run, 'latest').step
    assert step >= 2
    names = {path.name.split('.')[0] for path in run.iterdir()}
    assert names == {'flags', 'events', 'epochs', 'latest', 'best', 'index', 'pictures'}  # the last two: its page
    assert len(list(run.glob('events.*'))) == 1
    seen = program.events(run)
    epochs = sorted({epoch for epoch, _ in seen['eval/cycle_AtoB']})
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) >= 2
    assert not list(cache.rglob('*.part')) and len(list(cache.rglob('*.pixels'))) == 2
    # The chief's output came without a name, of the others only what TensorFlow has to say.
    assert [f'worker {i}: ' in error for i in range(workers)] == [False] + [True] * (workers - 1)
    assert 'Traceback' not in error


def test_the_status_of_a_worker_that_fails_is_the_launchers():
    done = program.finish(program.start_python('tools/launch_local.py', '--workers=2', '--', '--crop_size=none'))
    assert done[0] == 2
    assert done[2].count('flag --crop_size') == 2 and 'worker 1: cyclegan_tf.train: flag --crop_size' in done[2]


def test_workers_that_do_not_end_after_a_failure_are_ended(monkeypatch):
    monkeypatch.setattr(launch_local, '_GRACE', 1.0)
    monkeypatch.setattr(launch_local, '_LAST_GRACE', 1.0)
    stubborn = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print("on", flush=True)'
    stubborn = subprocess.Popen([sys.executable, '-c', f'{stubborn}; time.sleep(100)'], stdout=subprocess.PIPE)
    stubborn.stdout.readline()
    obedient = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])
    failing = subprocess.Popen([sys.executable, '-c', 'raise SystemExit(3)'])
    assert launch_local.wait([stubborn, obedient, failing]) == 3
    assert (stubborn.returncode, obedient.returncode) == (-signal.SIGKILL, -signal.SIGTERM)
    killed = subprocess.Popen([sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)'])
    assert launch_local.wait([killed]) == 137


def test_the_flags_of_training_stand_behind_two_dashes():
    config, flags = launch_local.parse(['launch_local', '--workers=3', '--', '--name=a', '--', '--b'])
    assert (config.workers, flags) == (3, ['--name=a', '--', '--b'])
    with pytest.raises(UserError, match="have to follow '--'"):
        launch_local.parse(['launch_local', '--workers=3', '--name=a'])
    with pytest.raises(UserError, match=r'`workers` \(0\) is below 1'):
        launch_local.parse(['launch_local', '--workers=0', '--'])


def test_gpus_are_shared_evenly_or_not_at_all():
    shares = launch_local.share_gpus(launch_local.visible_gpus({'CUDA_VISIBLE_DEVICES': '4,5,6,7'}), 2)
    assert shares == [{'CUDA_VISIBLE_DEVICES': '4,5'}, {'CUDA_VISIBLE_DEVICES': '6,7'}]
    assert launch_local.share_gpus(launch_local.visible_gpus({'CUDA_VISIBLE_DEVICES': ''}), 2) == [{}, {}]
    with pytest.raises(UserError, match=r'`workers` \(2\) cannot share 3 GPUs evenly'):
        launch_local.share_gpus(['0', '1', '2'], 2)

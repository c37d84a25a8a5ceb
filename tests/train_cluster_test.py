"""Clusters of real workers: who writes what, how all stop at one step, what a killed worker leaves."""

import json
import re
import signal
import time

import launch_local
import numpy as np
import pytest

from cyclegan_tf.runs import checkpoints
from tests.helpers import program

SMALL = (*program.SMALL, '--lambda_identity=0', '--netD=n_layers', '--n_layers_D=1')  # what builds the step soonest
# Steps of two images, so many that signals come before the last; a checkpoint after every eighth.
STEPS = 100
RUN = (
    *SMALL, '--batch_size=2', '--max_dataset_size=10', '--n_epochs=10', '--n_epochs_decay=10', '--print_freq=2',
    '--display_freq=1000', '--save_latest_freq=16',
)  # fmt: skip
NOTICED = 120  # seconds in which a cluster has to end without one of its workers


class Cluster:
    """Workers of one run on this machine, as processes."""

    def __init__(self, workers, *flags):
        configs = launch_local.make_tf_configs(workers)
        self.addresses = json.loads(configs[0])['cluster']['worker']
        self.processes = [program.start('train', *flags, TF_CONFIG=config) for config in configs]

    def wait_for_step(self, step):
        """Until the chief reports this step or a later one."""
        for line in self.processes[0].stdout:
            found = re.search(r'step (\d+)/', line)
            if found and int(found.group(1)) >= step:
                return
        raise AssertionError(self.finish())

    def finish(self, timeout=300):
        """Waits; returns exit status, standard output, standard error of each."""
        return [program.finish(process, timeout) for process in self.processes]


@pytest.fixture
def flags(image_folders, tmp_path):
    """(name) -> the flags of a run."""
    return lambda name: (*RUN, f'--dataroot={image_folders}', f'--checkpoints_dir={tmp_path}', f'--name={name}')


@pytest.mark.slow
def test_a_cluster_without_one_of_its_workers_ends_with_a_sentence(flags):
    cluster = Cluster(2, *flags('run'))
    cluster.wait_for_step(2)
    cluster.processes[1].kill()
    status, _, error = cluster.finish()[0]
    assert status == 1, error
    assert f'worker 1 ({cluster.addresses[1]}) no longer answers' in error and 'Traceback' not in error


@pytest.mark.nightly
@pytest.mark.slow
def test_a_cluster_that_is_stopped_and_killed_goes_on_as_if_it_had_not_been(flags, tmp_path):
    whole = Cluster(2, *flags('whole'))
    for status, _, error in whole.finish():
        assert status == 0, error

    cluster = Cluster(2, *flags('run'))
    cluster.wait_for_step(2)
    cluster.processes[1].send_signal(signal.SIGTERM)
    chief, other = cluster.finish()
    assert (chief[0], other[0]) == (143, 143), chief[2] + other[2]
    assert re.search(r'SIGTERM at step \d+: the state is saved', chief[1])

    for killed, left in ((1, 0), (0, 1)):
        cluster = Cluster(2, *flags('run'), '--continue_train')
        steps = checkpoints.find(tmp_path / 'run', 'latest').step
        cluster.wait_for_step(steps + 2)
        cluster.processes[killed].kill()
        start = time.monotonic()
        status, _, error = cluster.finish()[left]
        assert time.monotonic() - start < NOTICED
        assert status == 1, error
        assert f'worker {killed} ({cluster.addresses[killed]}) no longer answers' in error
        assert 'Traceback' not in error
        assert not (tmp_path / 'run' / '.lock').exists() or killed == 0

    assert checkpoints.find(tmp_path / 'run', 'latest').step < STEPS
    for status, _, error in Cluster(2, *flags('run'), '--continue_train').finish():
        assert status == 0, error
    expected, found = (program.weights(tmp_path / name) for name in ('whole', 'run'))
    assert set(expected) == set(found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)

"""The watch over the other workers: who is found gone, who is only late, and when nothing is said."""

import json
import signal
import time

import launch_local
import pytest

from tests.helpers import program

# A worker without TensorFlow's part: it listens at its address, and waits under the watch as in a sum over all.
WORKER = """
import json, os, socket, sys, time
from cyclegan_tf.distribution.cluster import read_cluster
from cyclegan_tf.distribution.watch import Watch
cluster = read_cluster('auto')
host, _, port = cluster.addresses[cluster.job][cluster.task].rpartition(':')
server = socket.create_server((host, int(port)))
with Watch(cluster, lambda: print('before exit', flush=True)) as watch:
    print('ready', flush=True)
    seconds = float(sys.argv[1])
    time.sleep(seconds)
    if 'end' in sys.argv:
        watch.end()
        time.sleep(float(sys.argv[3]))  # what is left to do without the others
time.sleep(8)  # the others may be gone now
print('done', flush=True)
"""


def start(config, seconds, *end):
    return program.start_python('-c', WORKER, seconds, *end, TF_CONFIG=config)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_by_all_others():
    configs = launch_local.make_tf_configs(3)
    addresses = json.loads(configs[0])['cluster']['worker']
    workers = [start(config, 100) for config in configs]
    for worker in workers:
        assert worker.stdout.readline() == 'ready\n'
    time.sleep(3)  # a look at which all were there
    workers[1].send_signal(signal.SIGKILL)
    for i in (0, 2):
        status, output, error = program.finish(workers[i], timeout=60)
        assert status == 1 and output == 'before exit\n'
        assert f'worker {i} ({addresses[i]}): worker 1 ({addresses[1]}) no longer answers, and training' in error
        assert 'start all workers again with --continue_train' in error
    program.finish(workers[1])


@pytest.mark.slow
def test_a_worker_that_has_not_come_yet_or_has_ended_in_good_time_is_not_gone():
    configs = launch_local.make_tf_configs(2)
    early = start(configs[0], 10)
    assert early.stdout.readline() == 'ready\n'
    time.sleep(5)  # more looks than a worker may be gone
    late = start(configs[1], 0)
    assert late.stdout.readline() == 'ready\n'
    for worker in (early, late):
        status, output, error = program.finish(worker)
        assert (status, output) == (0, 'done\n'), error


@pytest.mark.nightly
@pytest.mark.slow
def test_a_worker_that_goes_after_all_is_done_is_not_missed_by_one_that_needs_longer_to_end():
    workers = [start(config, 5, 'end', seconds) for config, seconds in zip(launch_local.make_tf_configs(2), (0, 16))]
    for worker in workers:
        status, output, error = program.finish(worker)
        assert (status, output) == (0, 'ready\ndone\n'), error

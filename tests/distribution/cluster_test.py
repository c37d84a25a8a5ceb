"""The cluster as the environment describes it: TF_CONFIG, Slurm, and what is wrong with them."""

import json
import socket

import pytest

from cyclegan_tf.distribution.cluster import Cluster, read_cluster
from cyclegan_tf.errors import UserError

TWO = ['one:1000', 'two:2000']


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No cluster but a test's own."""
    monkeypatch.delenv('TF_CONFIG', raising=False)
    for name in ('JOB_ID', 'PROCID', 'STEP_NUM_TASKS', 'STEP_NODELIST', 'STEP_TASKS_PER_NODE'):
        monkeypatch.delenv(f'SLURM_{name}', raising=False)
    return monkeypatch


def configure(environment, cluster, kind='worker', index=0):
    environment.setenv('TF_CONFIG', json.dumps({'cluster': cluster, 'task': {'type': kind, 'index': index}}))


def test_a_cluster_of_workers_and_one_with_a_chief(environment):
    configure(environment, {'worker': TWO}, index=1)
    cluster = read_cluster('auto')
    assert (cluster.worker, cluster.workers, cluster.describe(0)) == (1, 2, 'worker 0 (one:1000)')
    configure(environment, {'worker': TWO, 'chief': ['lead:1']}, index=1)
    cluster = read_cluster('multi_worker')
    assert (cluster.worker, cluster.workers, cluster.describe(0)) == (2, 3, 'chief 0 (lead:1)')


@pytest.mark.parametrize('strategy', ['mirrored', 'one_device'])
def test_other_strategies_train_alone_whatever_the_environment_says(environment, strategy):
    environment.setenv('TF_CONFIG', '{')
    assert read_cluster(strategy) is None


@pytest.mark.parametrize('text', ['', ' ', '{}', '{"cluster": {}}'])
def test_no_cluster(environment, text):
    environment.setenv('TF_CONFIG', text)
    assert read_cluster('auto') is None
    with pytest.raises(UserError, match='finds no cluster in the environment; set TF_CONFIG on every machine'):
        read_cluster('multi_worker')


@pytest.mark.parametrize(
    'text, complaint',
    [
        ('{"cluster"', 'cannot be read .*; set it as in'),
        ('[1]', 'cannot be read'),
        ('{"cluster": {"worker": ["one"]}, "task": {"type": "worker", "index": 0}}', "'one' has no port"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}', "tasks of type 'ps'"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}', 'more than one chief'),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            'this process is worker 1, which is not in its cluster',
        ),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
            'this process is chief 0, which is not in its cluster',
        ),
        ('{"cluster": {"worker": ["a:1"]}}', 'this process is task -1, which is not in its cluster'),
    ],
)
def test_a_broken_tf_config_is_named(environment, text, complaint):
    environment.setenv('TF_CONFIG', text)
    with pytest.raises(UserError, match=complaint):
        read_cluster('auto')


def set_slurm(environment, **values):
    for name, value in values.items():
        environment.setenv(name if name.startswith('SLURM') else f'SLURM_{name}', str(value))


def test_slurm_numbers_its_tasks_by_its_own_list_of_machines(environment):
    # As srun sets them for --nodes=3 --ntasks=5 on n9, n10 and m1.
    common = dict(JOB_ID=4321, STEP_NUM_TASKS=5, STEP_NODELIST='n[9-10],m1', STEP_TASKS_PER_NODE='2(x2),1')
    addresses = ['n9:25136', 'n9:25137', 'n10:25136', 'n10:25137', 'm1:25136']  # 20000 + 321 * 16
    for task, address in enumerate(addresses):
        set_slurm(environment, **common, PROCID=task, SLURMD_NODENAME=address.partition(':')[0])
        cluster = read_cluster('multi_worker')
        assert (cluster.worker, list(cluster.addresses['worker'])) == (task, addresses)


def test_slurm_tasks_dealt_out_in_turn_are_refused(environment):
    set_slurm(environment, JOB_ID=1, STEP_NUM_TASKS=4, STEP_NODELIST='n[1-2]', STEP_TASKS_PER_NODE='2(x2)')
    set_slurm(environment, PROCID=1, SLURMD_NODENAME='n2')
    with pytest.raises(UserError, match='task 1 is on n2, not on n1; start all with srun --distribution=block'):
        read_cluster('multi_worker')


def test_tf_config_goes_before_slurm_and_slurm_is_asked_for(environment):
    set_slurm(environment, JOB_ID=1, STEP_NUM_TASKS=2, STEP_NODELIST='n[1-2]', STEP_TASKS_PER_NODE='1(x2)', PROCID=0)
    assert read_cluster('auto') is None  # an interactive session on a cluster is no training of several
    configure(environment, {'worker': TWO})
    assert read_cluster('multi_worker').addresses['worker'] == TWO


def test_slurm_without_a_step_is_refused(environment):
    set_slurm(environment, STEP_NODELIST='n1', STEP_NUM_TASKS=1)
    with pytest.raises(UserError, match=r"cannot read Slurm's environment \(SLURM_PROCID not found"):
        read_cluster('multi_worker')


def test_workers_that_are_gone_are_found():
    with socket.create_server(('127.0.0.1', 0)) as here, socket.create_server(('127.0.0.1', 0)) as there:
        addresses = [f'127.0.0.1:{one.getsockname()[1]}' for one in (here, there)]
        cluster = Cluster({'worker': addresses}, 'worker', 0)
        assert cluster.unreachable() == []
        there.close()
        assert cluster.unreachable() == [1]

"""The scripts and manifests for clusters: they parse, and what they start knows the cluster's addresses."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from cyclegan_tf import translate
from cyclegan_tf.distribution.cluster import read_cluster
from cyclegan_tf.settings.run_flags import parse_training

FOLDER = pathlib.Path(__file__).parent.parent.parent / 'tools' / 'cluster'

# Stands where the machine has Python, srun and scontrol: notes how it was called.
RECORDER = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$RECORD"
echo "${TF_CONFIG:-}" > "$RECORD.tf_config"
exit "${STATUS:-0}"
"""


@pytest.fixture
def run(tmp_path):
    """(command, variables) -> exit status and the calls, 'program arguments', of python3, srun and scontrol."""
    for name in ('python3', 'srun', 'scontrol'):
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(RECORDER)
        path.chmod(0o755)
    record = tmp_path / 'record'

    def run(command, **variables):
        record.unlink(missing_ok=True)
        environment = {**os.environ, 'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}', 'RECORD': str(record)}
        environment = {k: v for k, v in environment.items() if k not in ('TF_CONFIG', 'PYTHON')}
        done = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True)
        calls = record.read_text().splitlines() if record.exists() else []
        return done.returncode, calls, done.stderr

    run.tf_config = record.with_name('record.tf_config')
    return run


def read(name):
    with open(FOLDER / name) as file:
        (document,) = yaml.safe_load_all(file)
    return document


def pod_of(manifest):
    if manifest['kind'] == 'JobSet':
        (job,) = manifest['spec']['replicatedJobs']
        return job['template']['spec']['template']['spec']
    return manifest['spec']['tfReplicaSpecs']['Worker']['template']['spec']


def command_of(container):
    return [*container['command'], *container['args']], {v['name']: v['value'] for v in container['env']}


def test_the_jobset_tells_each_pod_where_the_workers_are(run, tmp_path, monkeypatch):
    manifest = read('jobset.yaml')
    (job,) = manifest['spec']['replicatedJobs']
    spec = job['template']['spec']
    (container,) = pod_of(manifest)['containers']
    command, variables = command_of(container)
    # All the places where the number of workers, the port and the names stand agree.
    assert spec['completionMode'] == 'Indexed' and manifest['spec']['network']['enableDNSHostnames']
    assert spec['parallelism'] == spec['completions'] == int(variables['WORKERS'])
    name, port = manifest['metadata']['name'], container['ports'][0]['containerPort']
    expected = [f'{name}-{job["name"]}-0-{i}.{name}:{port}' for i in range(3)]
    for index in range(3):
        status, calls, error = run(command, **{**variables, 'WORKERS': '3', 'JOB_COMPLETION_INDEX': str(index)})
        assert status == 0 and len(calls) == 1, error
        monkeypatch.setenv('TF_CONFIG', run.tf_config.read_text())
        cluster = read_cluster('auto')
        assert (cluster.worker, list(cluster.addresses['worker'])) == (index, expected)


@pytest.mark.parametrize('name', ['jobset.yaml', 'tfjob.yaml'])
def test_a_pod_that_starts_again_continues_the_run(run, tmp_path, name):
    (container,) = pod_of(read(name))['containers']
    command, variables = command_of(container)
    variables.update(CHECKPOINTS=str(tmp_path / 'checkpoints'), JOB_COMPLETION_INDEX='0')
    _, (call,), _ = run(command, **variables)
    assert call.startswith('python3 -m cyclegan_tf.train ') and '--continue_train' not in call
    config, _ = parse_training(call.split()[2:])
    assert (config.checkpoints_dir, config.name) == (variables['CHECKPOINTS'], 'maps')
    folder = tmp_path / 'checkpoints' / 'maps' / 'latest'
    folder.mkdir(parents=True)
    _, (call,), _ = run(command, **variables)
    assert '--continue_train' not in call  # killed before its first checkpoint
    (folder / 'checkpoint').touch()
    _, (call,), _ = run(command, **variables)
    assert call.endswith(' --continue_train')


@pytest.mark.parametrize('name', ['jobset.yaml', 'tfjob.yaml'])
def test_pods_mount_what_they_name_and_have_time_for_the_checkpoint(name):
    pod = pod_of(read(name))
    (container,) = pod['containers']
    assert {mount['name'] for mount in container['volumeMounts']} == {volume['name'] for volume in pod['volumes']}
    assert pod['terminationGracePeriodSeconds'] >= 60


def test_the_tf_config_of_a_tfjob_is_read(monkeypatch):
    manifest = read('tfjob.yaml')
    (container,) = pod_of(manifest)['containers']
    assert container['name'] == 'tensorflow' and container['ports'][0]['name'] == 'tfjob-port'
    hosts = [f'{manifest["metadata"]["name"]}-worker-{i}.default.svc:2222' for i in range(2)]
    # As the operator sets it.
    text = {'cluster': {'worker': hosts}, 'task': {'type': 'worker', 'index': 1}, 'environment': 'cloud'}
    monkeypatch.setenv('TF_CONFIG', json.dumps(text))
    cluster = read_cluster('auto')
    assert (cluster.worker, cluster.describe(0)) == (1, f'worker 0 ({hosts[0]})')


def submit(run, *flags, **variables):
    """The job's script, with a real Python to read the flags; returns as run."""
    return run(['bash', str(FOLDER / 'slurm.sh'), *flags], PYTHON=sys.executable, SLURM_JOB_ID='5', **variables)


@pytest.mark.parametrize('given', ['on the command line', 'in a flag file'])
def test_slurm_starts_every_task_and_goes_on_when_it_starts_anew(run, tmp_path, given):
    flags = ['--name', 'maps', '--suffix={netG}', f'--checkpoints_dir={tmp_path}', '--dataroot=demo']
    folder = tmp_path / 'maps_resnet_9blocks'
    if given == 'in a flag file':
        (tmp_path / 'maps.cfg').write_text('\n'.join(['--name=maps', *flags[2:]]))
        flags = [f'--flagfile={tmp_path}/maps.cfg']
    status, (call,), error = submit(run, *flags)
    assert status == 0, error
    command = ' '.join([sys.executable, '-m', 'cyclegan_tf.train', '--strategy=multi_worker', *flags])
    assert call.startswith('srun ') and call.endswith(command)
    _, (call,), _ = submit(run, *flags, SLURM_RESTART_COUNT='1')
    assert call.endswith(command)  # taken away before its first checkpoint
    (folder / 'latest').mkdir(parents=True)
    (folder / 'latest' / 'checkpoint').touch()
    _, (call,), _ = submit(run, *flags, SLURM_RESTART_COUNT='1')
    assert call.endswith(f'{command} --continue_train')


def test_slurm_starts_nothing_with_flags_that_training_would_refuse(run):
    status, calls, error = submit(run, '--dataroot=demo', '--ngff=3')
    assert (status, calls) == (2, []) and "Unknown command line flag 'ngff'" in error


@pytest.mark.parametrize('status, requeued', [(143, True), (1, False)])
def test_slurm_is_asked_to_start_anew_only_what_it_has_stopped(run, status, requeued):
    done, calls, _ = submit(run, '--dataroot=demo', STATUS=str(status))
    # Our stand-in for scontrol ends with this status too.
    assert (done, len(calls)) == (status, 1 + requeued) and ('scontrol requeue 5' in calls) == requeued


@pytest.mark.parametrize('shards, expected', [({}, '3/16'), ({'SHARDS': '32'}, '3/32')])
def test_each_job_of_an_array_translates_its_shard(run, shards, expected):
    given = {'SLURM_ARRAY_TASK_ID': '3', 'SLURM_ARRAY_TASK_COUNT': '16', 'SLURM_CPUS_PER_TASK': '2',
             'SLURM_ARRAY_TASK_MIN': '0', 'SLURM_ARRAY_TASK_MAX': '15'}  # fmt: skip
    flags = ['--name=run', '--input=my images', '--output=out']
    status, calls, _ = run(['bash', FOLDER / 'translate_array.sh', *flags], **given, **shards, STATUS='1')
    assert status == 1 and calls == [f'python3 -m cyclegan_tf.translate --shard={expected} {" ".join(flags)}']
    translate.parse(calls[0].split()[2:3] + [f'--shard={expected}', *flags])


def test_an_array_that_is_not_all_shards_is_refused(run):
    given = {'SLURM_ARRAY_TASK_ID': '3', 'SLURM_ARRAY_TASK_COUNT': '2', 'SLURM_ARRAY_TASK_MIN': '3'}
    status, calls, err = run(['bash', FOLDER / 'translate_array.sh', '--name=run'], **given, SLURM_ARRAY_TASK_MAX='7')
    assert (status, calls) == (2, []) and 'set SHARDS to the number of all shards' in err

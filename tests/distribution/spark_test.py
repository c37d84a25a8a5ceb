"""Work on Spark is done once whatever dies; and what is missing is a sentence."""

import functools
import os
import pathlib
import signal
import stat
import time
import types

import pytest

from cyclegan_tf.distribution import spark
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import signals
from cyclegan_tf.settings.archive import SparkConfig

ONE = lambda result: {'done': 1, 'pixels': 10, 'unknown': 5}  # noqa: E731


@pytest.fixture(scope='module')
def cluster():
    with spark.Cluster(SparkConfig(master='local[2]', max_failures=3), 'test') as cluster:
        yield cluster


def run(cluster, work, items, parts, counts_of=ONE, kept=None):
    return cluster.run(work, items, parts, 'Testing', counts_of, ('done', 'pixels'), kept)


@pytest.mark.spark
def test_results_come_in_order_and_are_counted(cluster):
    results, counts = run(cluster, lambda part, items: ((part, item) for item in items), range(10), 4)
    assert [item for _, item in results] == list(range(10)) and {part for part, _ in results} == {0, 1, 2, 3}
    assert counts == {'done': 10, 'pixels': 100} and cluster.notes == []
    results, counts = run(cluster, lambda part, items: items, range(10), 4, kept=lambda item: item > 7)
    assert results == [8, 9] and counts['done'] == 10
    assert run(cluster, lambda part, items: items, [], 1) == ([], {'done': 0, 'pixels': 0})


@pytest.mark.spark
def test_workers_have_the_cores_of_their_tasks(cluster):
    names = ('TF_NUM_INTRAOP_THREADS', 'OMP_NUM_THREADS')
    results, _ = run(cluster, lambda part, items: [tuple(os.environ[name] for name in names)], range(2), 2)
    assert results == [('1', '1')] * 2
    assert (
        cluster.parts(1_000_000) == 5000 and cluster.parts(30) == 8 and cluster.parts(3) == 3 and cluster.parts(0) == 1
    )


def dies_once(place, part, items):
    for item in items:
        yield item
        marker = pathlib.Path(place) / str(item)
        if item in (3, 7) and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.spark
def test_a_worker_that_dies_is_replaced_and_nothing_counts_twice(cluster, tmp_path):
    results, counts = run(cluster, functools.partial(dies_once, str(tmp_path)), range(10), 2)
    assert results == list(range(10)) and counts == {'done': 10, 'pixels': 100}
    assert cluster.notes == ['2 parts failed and were repeated.']


@pytest.mark.spark
def test_a_part_that_always_fails_is_a_sentence(cluster, tmp_path):
    def fail(part, items):
        with open(tmp_path / 'tries', 'a') as file:
            file.write('.')
        raise OSError(28, 'No space left on device', 'out/a.png')

    with pytest.raises(UserError) as error:
        run(cluster, fail, range(2), 1)
    said = "Testing was given up (OSError: [Errno 28] No space left on device: 'out/a.png'); correct that and repeat."
    assert str(error.value) == said and (tmp_path / 'tries').read_text() == '...'
    with pytest.raises(UserError, match='^Testing was given up .*worker exited unexpectedly'):
        run(cluster, lambda part, items: os.kill(os.getpid(), signal.SIGKILL), range(2), 1)


@pytest.mark.spark
def test_what_the_user_can_correct_is_not_repeated(cluster, tmp_path):
    def refuse(part, items):
        with open(tmp_path / 'tries', 'a') as file:
            file.write('.')
        raise UserError('`epoch` (3) is none.')
        yield

    with pytest.raises(UserError, match=r'^`epoch` \(3\) is none.$'):
        run(cluster, refuse, range(2), 1)
    assert (tmp_path / 'tries').read_text() == '.'

    def refuse_slowly(part, items):
        time.sleep(0.2)
        yield from refuse(part, items)

    with pytest.raises(UserError, match=r'^`epoch` \(3\) is none.$'):
        run(cluster, refuse_slowly, range(300), 300)
    assert len((tmp_path / 'tries').read_text()) < 100  # the others were cancelled


@pytest.mark.spark
def test_a_worker_that_refuses_is_not_replaced(cluster):
    def told(part, items):
        list(items)
        yield os.getpid()

    def refuse(part, items):
        raise UserError('no')
        yield

    before, _ = run(cluster, told, range(2), 2)
    with pytest.raises(UserError):
        run(cluster, refuse, range(2), 2)
    after, _ = run(cluster, told, range(20), 20)
    assert set(after) & set(before)


# -------------------------------------------------------------------------------------------------- without Spark
@pytest.mark.parametrize(
    'resources, expected',
    [
        ({}, {}),
        ({'gpu': types.SimpleNamespace(name='gpu', addresses=['2', '3'])}, {'CUDA_VISIBLE_DEVICES': '2,3'}),
    ],
)
def test_workers_take_what_their_task_was_given(resources, expected):
    task = types.SimpleNamespace(cpus=lambda: 4, resources=lambda: resources)
    assert spark._variables(task) == {'TF_NUM_INTRAOP_THREADS': '4', 'OMP_NUM_THREADS': '4', **expected}


@pytest.mark.parametrize(
    'given, expected',
    [
        ('local', 'local[1,5]'),
        ('local[2]', 'local[2,5]'),
        ('local[*]', 'local[*,5]'),
        ('local[2,9]', 'local[2,9]'),
        ('yarn', 'yarn'),
        ('spark://one:7077', 'spark://one:7077'),
    ],
)
def test_failures_are_allowed_by_local_masters_too(given, expected):
    assert spark.with_failures(given, 5) == expected


def test_java_is_looked_for_where_spark_does(tmp_path, monkeypatch):
    monkeypatch.setenv('JAVA_HOME', str(tmp_path))
    with pytest.raises(
        UserError, match=r"needs Java 17 or newer, and '.*/bin/java' is no program; install it \(Debian"
    ):
        spark.require_java()
    java = tmp_path / 'bin' / 'java'
    java.parent.mkdir()
    for said, status, fits in [
        ('openjdk version "17.0.15" 2025-04-15', 0, True),
        ('openjdk version "25" 2025-09-16', 0, True),
        ('java version "1.8.0_402"', 0, False),
        ('openjdk version "11.0.2"', 0, False),
        ('Error: no JVM', 1, False),
    ]:
        java.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {status}\n")
        java.chmod(java.stat().st_mode | stat.S_IXUSR)
        if fits:
            spark.require_java()
        else:
            with pytest.raises(UserError, match=f"needs Java 17 or newer, but '{java}' says: {said[:6]}.*; install it"):
                spark.require_java()


def test_what_a_worker_raised_is_found_between_the_traces():
    text = (
        'An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n'
        ': org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 failed 1 times\n'
        '  File "worker.py", line 3, in main\n'
        '    process()\n'
        'ValueError: what it was\n'
        '\tat org.apache.spark.api.python.BasePythonRunner(PythonRunner.scala:100)\n'
        'Caused by: java.io.EOFException\n'
    )
    assert spark._reason(RuntimeError(text)) == 'ValueError: what it was'
    without = text.replace('ValueError: what it was\n', '')
    assert spark._reason(RuntimeError(without)).startswith('org.apache.spark.SparkException: Job aborted due to')
    assert spark._reason(RuntimeError('short')) == 'short'


def test_a_signal_is_found_behind_what_it_caused():
    try:
        try:
            raise signals.Interruption(signal.SIGTERM)
        except BaseException:
            raise ConnectionError('Answer from Java side is empty')  # noqa: B904 (as PySpark does it)
    except ConnectionError as error:
        assert spark._interruption(error).number == signal.SIGTERM
    assert spark._interruption(ConnectionError()) is None


def test_spark_that_is_not_installed_is_a_sentence(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pyspark', None)
    with pytest.raises(UserError, match=r"Apache Spark is missing; install it with pip install '.\[spark\]'"):
        spark.Cluster(SparkConfig(), 'test')

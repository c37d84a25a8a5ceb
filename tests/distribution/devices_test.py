"""The same training on one device, on several, and on several workers; and what does not fit is refused."""

import launch_local
import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.distribution.cluster import Cluster
from cyclegan_tf.distribution.devices import Devices, open_devices
from cyclegan_tf.errors import UserError
from tests.helpers import program

# name -> (workers, flags)
DEVICES = {
    'one device': (1, ('--strategy=one_device',)),
    '2 replicas': (1, ('--virtual_devices=2',)),
    '4 replicas': (1, ('--virtual_devices=4',)),
    '2 workers': (2, ()),
    '2 workers of 2 replicas': (2, ('--virtual_devices=2',)),
}


def train(images, directory, cases):
    """Trains on several devices, each in processes of its own, all at once.

    Args:
        images: a data set.
        directory: for results.
        cases: name in DEVICES -> cases of replica_run.

    Returns:
        name in DEVICES -> name of case and value -> array.
    """
    started = {}
    for name, of_name in cases.items():
        workers, flags = DEVICES[name]
        path = directory / f'{name}.npz'
        arguments = ('-m', 'tests.helpers.replica_run', path, *of_name, '--', f'--dataroot={images}', *flags)
        configs = launch_local.make_tf_configs(workers) if workers > 1 else ['']
        started[name] = path, [program.start_python(*arguments, TF_CONFIG=config) for config in configs]
    results = {}
    for name, (path, processes) in started.items():
        for process in processes:
            status, _, error = program.finish(process, timeout=1500)  # the nightly cases take minutes
            assert status == 0, error
        with np.load(path) as file:
            results[name] = dict(file)
    return results


def assert_equal(result, expected, case, of=None, losses=1e-9, kernels=1e-9):
    """A case's losses at every step and its kernels at the end are equal, up to a share of them."""
    names = [name.partition('/')[2] for name in result if name.startswith(f'{case}/')]
    assert len(names) > (25 if case not in ('pix2pix', 'cut', 'cut, all negatives') else 12)  # of four networks, of two
    assert set(names) == {n.partition('/')[2] for n in expected if n.startswith(f'{of or case}/')}
    for name in names:
        value, wanted = result[f'{case}/{name}'], expected[f'{of or case}/{name}']
        if name == 'metrics':
            # All of a step together: wgangp's own go through zero.
            differences = np.linalg.norm(value - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
            assert differences.max() < losses, differences
        else:
            assert np.linalg.norm(value - wanted) < kernels * np.linalg.norm(wanted), name


_COUNT_ARENAS = """
import ctypes, threading
from cyclegan_tf.distribution.devices import open_devices
open_devices(None, 'mirrored', 1)
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
threads = [threading.Thread(target=library.malloc, args=(10_000,)) for _ in range(64)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
library.fdopen.restype = ctypes.c_void_p
library.malloc_info(0, ctypes.c_void_p(library.fdopen(1, b'w')))
library.fflush(None)
"""


def test_threads_share_two_arenas_of_memory():
    status, output, error = program.run_python('-c', _COUNT_ARENAS)
    assert status == 0, error
    assert 1 <= output.count('<heap nr=') <= 2, output


def test_one_cpu_takes_the_stream_as_it_is():
    """Without the strategy's buffers, whose own data set tunes itself and at times is gone only after a minute."""
    devices = Devices(tf.distribute.OneDeviceStrategy('/cpu:0'), 'CPU')
    stream = tf.data.Dataset.from_tensors((tf.zeros([1, 2, 2, 3]), tf.ones([1, 2, 2, 3]))).repeat()
    assert devices.distribute(stream) is stream


@pytest.mark.parametrize(
    'settings, workers, complaint',
    [
        (dict(batch_size=4), 3, r'`batch_size` \(4\) cannot be divided among 3 devices; set --batch_size=3 or 6\.'),
        (dict(batch_size=2), 3, r'`batch_size` \(2\) cannot be divided among 3 devices; set --batch_size=3\.'),
        (dict(batch_size=6), 4, r'`batch_size` \(6\) cannot be divided among 4 .*=4 or 8\.'),
        (
            dict(virtual_devices=2),
            1,
            r'among 2 devices; set --batch_size=2, or take fewer devices with --num_devices=1\.',
        ),
        (
            dict(num_devices=3),
            1,
            r'`num_devices` \(3\) exceeds the devices of this machine \(1 x CPU\); lower it, or split',
        ),
        (dict(num_devices=2, strategy='one_device'), 1, r'`num_devices` \(2\) cannot be used with strategy one_device'),
    ],
)
def test_what_does_not_fit_the_devices_is_refused(settings, workers, complaint):
    described = Cluster({'worker': [f'nowhere:{i}' for i in range(workers)]}, 'worker', 0)
    with pytest.raises(UserError, match=complaint):
        open_devices(described, **{'strategy': 'mirrored', 'batch_size': 1, **settings})


_PART = """
import os, sys
from cyclegan_tf.distribution.cluster import read_cluster
from cyclegan_tf.distribution.devices import open_devices
devices = open_devices(read_cluster('mirrored'), 'mirrored', 2)
if devices.is_chief:
    devices.part()
    print('parted', flush=True)
else:
    devices.exchange([0])
    os._exit(0)  # before the answer to a second exchange
"""


def test_worker_that_is_done_may_end_before_the_others():
    processes = [program.start_python('-c', _PART, TF_CONFIG=config) for config in launch_local.make_tf_configs(2)]
    (status, output, error), (other, _, _) = (program.finish(process, timeout=120) for process in processes)
    assert status == other == 0, error
    assert 'parted' in output


@pytest.mark.slow
def test_replicas_and_workers_make_no_difference(image_folders, tmp_path):
    cases = dict.fromkeys(('one device', '2 replicas', '2 workers'), ('dropout',))
    results = train(image_folders, tmp_path, cases)
    for name in ('2 replicas', '2 workers'):
        assert_equal(results[name], results['one device'], 'dropout')


@pytest.mark.nightly
@pytest.mark.slow
def test_devices_and_accumulated_batches_make_no_difference(image_folders, tmp_path):
    cases = {
        'one device': ('dropout', 'dropout, accumulated', 'batch norm'),
        '2 replicas': ('dropout',),
        '2 workers': ('dropout', 'batch norm'),
    }
    results = train(image_folders, tmp_path, cases)
    expected = results['one device']
    assert_equal(expected, expected, 'dropout, accumulated', of='dropout')
    for name in ('2 replicas', '2 workers'):
        assert_equal(results[name], expected, 'dropout')
    assert_equal(results['2 workers'], expected, 'batch norm')


@pytest.mark.nightly
@pytest.mark.slow
def test_more_devices_make_no_difference(image_folders, tmp_path):
    cases = {
        'one device': ('wgangp', 'float32', 'float32, no norm', 'dropout'),
        '2 replicas': ('wgangp, accumulated', 'float32', 'float32, no norm', 'dropout, recomputed'),
        '2 workers': ('float32', 'float32, no norm'),
        '4 replicas': ('wgangp',),
        '2 workers of 2 replicas': ('wgangp',),
    }
    results = train(image_folders, tmp_path, cases)
    expected = results['one device']
    assert_equal(results['2 replicas'], expected, 'wgangp, accumulated', of='wgangp')
    assert_equal(results['2 replicas'], expected, 'dropout, recomputed', of='dropout')
    for name in ('4 replicas', '2 workers of 2 replicas'):
        assert_equal(results[name], expected, 'wgangp')
    for name in ('2 replicas', '2 workers'):
        assert_equal(results[name], expected, 'float32, no norm', losses=1e-5, kernels=1e-3)
        # Norms over 8x8 pixels enlarge rounding until it takes some to the other side of a ReLU, which is a percent or
        # two of a gradient.
        assert_equal(results[name], expected, 'float32', losses=1e-5, kernels=0.05)


@pytest.mark.nightly
@pytest.mark.slow
def test_replicas_and_workers_make_no_difference_to_pix2pix_and_cut(image_folders, tmp_path):
    of_all = ('pix2pix', 'cut', 'cut, all negatives')
    results = train(image_folders, tmp_path, dict.fromkeys(('one device', '2 replicas', '2 workers'), of_all))
    for name in ('2 replicas', '2 workers'):
        for case in of_all:
            assert_equal(results[name], results['one device'], case)

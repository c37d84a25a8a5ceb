"""What all tests share: two logical CPUs, photographs, precision, small runs of the real programs."""

import os
import sys

# Before TensorFlow and PyTorch are imported, and for the processes that tests start as well.
#
# The machine's cores are shared by pytest's workers: one thread each. PyTorch's spin while they wait; and results are
# compared to the bit between processes, which have to share the work alike.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('TF_NUM_INTRAOP_THREADS', '1')

import pytest  # noqa: E402

import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# What imports TensorFlow is imported where it is needed: pytest's own process, which hands out the tests, needs none.


def pytest_addoption(parser):
    parser.addoption('--nightly', action='store_true', help='run the tests as well that take minutes')
    parser.addoption(
        '--extras',
        action='store_true',
        help='run only the tests of videos, the page in the browser, the notebook, the container and Weights & Biases',
    )
    parser.addoption('--spark', action='store_true', help='run only the tests of what runs on Apache Spark')


def pytest_sessionstart(session):
    """Before anything is computed here: the process that others are forked from; then two logical CPUs, for the tests
    with two replicas. Programs have one, as users' have."""
    if session.config.pluginmanager.hasplugin('dsession'):
        return
    from tests.helpers import fresh_process

    if 'CYCLEGAN_TF_OWN_PROCESS' not in os.environ:  # which has one test, and needs no others
        fresh_process.start_server()
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )


def pytest_collection_modifyitems(config, items):
    """Leaves the nightly tests out, and those that need packages of their own, unless they are asked for: these are run
    alone."""

    def asked(name):
        return bool(config.getoption(f'--{name}'))

    left_out = [
        item
        for item in items
        if (item.get_closest_marker('nightly') and not asked('nightly'))
        or any(bool(item.get_closest_marker(name)) != asked(name) for name in ('extras', 'spark'))
    ]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test marked own_process in a fresh process: TensorFlow numbers the collective operations of a process,
    and those of a second strategy over the same devices collide with the first one's."""
    if pyfuncitem.get_closest_marker('own_process') is None or 'CYCLEGAN_TF_OWN_PROCESS' in os.environ:
        return None
    from tests.helpers import fresh_process

    done = fresh_process.call(
        pytest.main,
        ['-q', '-p', 'no:cacheprovider', '--nightly', pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env={**os.environ, 'CYCLEGAN_TF_OWN_PROCESS': '1'},
    )
    assert done.returncode == 0 and '1 passed' in done.stdout, done.stdout + done.stderr
    return True


@pytest.fixture(scope='module', autouse=True)
def tiny_models():
    """The programs know the models of helpers.tiny_models."""
    from tests.helpers import tiny_models

    with tiny_models.registered():
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """What programs remember between runs is kept apart from the user's, and from other tests'."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))


@pytest.fixture(autouse=True)
def determinism_ends_with_the_test():
    """The training program switches it on for its process; called in this one, it would decide about later tests."""
    yield
    if 'tensorflow' in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@pytest.fixture
def float64():
    """Keras and our models in float64 for one test."""
    import tensorflow as tf

    tf.keras.backend.set_floatx('float64')
    tf.keras.mixed_precision.set_global_policy('float64')
    yield
    tf.keras.backend.set_floatx('float32')
    tf.keras.mixed_precision.set_global_policy('float32')


@pytest.fixture
def photographs():
    """(count, height, width) -> float64 photographs in [-1, 1], [count, height, width, 3]."""
    import numpy as np

    from cyclegan_tf.data import demo

    def make(count, height, width):
        pictures = list(demo.regions('test', 'A').values())[:count]
        return np.stack([p[:height, :width].astype(np.float64) / 127.5 - 1 for p in pictures])

    return make


@pytest.fixture
def image_folders(tmp_path):
    """A data set of five small photographs a domain: (tmp_path / 'data') with trainA, trainB, testA, testB."""
    from tests.helpers import image_files

    return image_files.make_image_folders(tmp_path)


@pytest.fixture
def bad_folder(image_folders):
    """The same with one of each kind of bad image in trainA; helpers.image_files.REASONS says what is wrong with it."""
    from tests.helpers import image_files

    image_files.add_bad_images(image_folders)
    return image_folders

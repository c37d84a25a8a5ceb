"""What all tests share: two logical CPUs, photographs, precision, small runs of the real programs."""

import os

import pytest

# PyTorch's threads spin while they wait, and take from those of TensorFlow and of the other tests.
os.environ.setdefault('OMP_NUM_THREADS', '1')

# isort: off
import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# isort: on
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

# Before anything else uses a device: two logical CPUs, for the tests with two replicas.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from cyclegan_tf.data import demo  # noqa: E402
from tests.helpers import fresh_process, image_files  # noqa: E402


def pytest_sessionstart(session):
    """Before anything is computed here. A process of its own has one test, which needs none."""
    if 'CYCLEGAN_TF_OWN_PROCESS' not in os.environ:
        session.config.fresh_processes = fresh_process.FreshProcesses()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test marked own_process in a fresh process: TensorFlow numbers the collective operations of a process,
    and those of a second strategy over the same devices collide with the first one's."""
    if pyfuncitem.get_closest_marker('own_process') is None or 'CYCLEGAN_TF_OWN_PROCESS' in os.environ:
        return None
    done = pyfuncitem.config.fresh_processes.call(
        pytest.main,
        ['-q', '-p', 'no:cacheprovider', pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env={**os.environ, 'CYCLEGAN_TF_OWN_PROCESS': '1'},
    )
    assert done.returncode == 0 and '1 passed' in done.stdout, done.stdout + done.stderr
    return True


@pytest.fixture
def run_script(request):
    """(path, *arguments) -> how a Python program ends, as subprocess.run tells it, without the seconds of imports."""

    def run(path, *arguments, **variables):
        env = {**os.environ, **variables}
        call = request.config.fresh_processes.call
        return call(fresh_process.run_script, str(path), *arguments, cwd=request.config.rootpath, env=env)

    return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """What programs remember between runs is kept apart from the user's, and from other tests'."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))


@pytest.fixture
def float64():
    """Keras and our models in float64 for one test."""
    tf.keras.backend.set_floatx('float64')
    tf.keras.mixed_precision.set_global_policy('float64')
    yield
    tf.keras.backend.set_floatx('float32')
    tf.keras.mixed_precision.set_global_policy('float32')


@pytest.fixture
def photographs():
    """(count, height, width) -> float64 photographs in [-1, 1], [count, height, width, 3]."""

    def make(count, height, width):
        pictures = list(demo.regions('test', 'A').values())[:count]
        return np.stack([p[:height, :width].astype(np.float64) / 127.5 - 1 for p in pictures])

    return make


@pytest.fixture
def image_folders(tmp_path):
    """A data set of five small photographs a domain: (tmp_path / 'data') with trainA, trainB, testA, testB."""
    return image_files.make_image_folders(tmp_path)

"""A GPU that is there, and that TensorFlow does not find, is said to be missed."""

import pytest
import tensorflow as tf

from cyclegan_tf.runtime.missing_gpu import missing_gpu_warning

pytestmark = pytest.mark.skipif(bool(tf.config.list_physical_devices('GPU')), reason='TensorFlow finds a GPU')


@pytest.mark.parametrize(
    'file, visible, warns',
    [
        ('nvidia0', None, True),
        ('nvidia3', '3', True),
        ('nvidia0', '', False),
        ('nvidia0', '-1', False),
        ('nvidia0', 'NoDevFiles', False),
        ('nvidiactl', None, False),  # the driver alone
    ],
)
def test_a_gpu_that_is_there_and_not_found_is_missed(tmp_path, monkeypatch, file, visible, warns):
    (tmp_path / file).touch()
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    warning = missing_gpu_warning(tmp_path)
    assert (warning is not None) == warns
    assert not warns or (str(tmp_path / file) in warning and "pip install '.[gpu]'" in warning)

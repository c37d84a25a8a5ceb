"""Instructions for a precision, from Linux's description of the processor; a GPU that TensorFlow does not find."""

import pytest
import tensorflow as tf

from cyclegan_tf.runtime.hardware import half_precision_warning, missing_gpu_warning


@pytest.mark.parametrize(
    'line, precision, warns',
    [
        ('flags\t\t: fpu avx512f avx512_bf16', 'bfloat16', False),
        ('flags\t\t: fpu avx512f avx512_bf16', 'float16', True),
        ('flags\t\t: fpu amx_fp16', 'float16', False),
        ('flags\t\t: fpu avx2 f16c', 'bfloat16', True),
        ('flags\t\t: fpu avx2 f16c', 'float32', False),
        ('Features\t: fp asimd asimdhp', 'float16', False),
        ('Features\t: fp asimd', 'bfloat16', True),
        ('vendor_id\t: unknown', 'float16', False),
    ],
)
def test_a_precision_without_instructions_is_said_to_be_slow(tmp_path, line, precision, warns):
    (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\n{line}\nbugs\t\t: bf16 amx_fp16 none\n')
    warning = half_precision_warning(precision, tmp_path / 'cpuinfo')
    assert (warning is not None) == warns
    assert not warns or f'no instructions for {precision}' in warning


def test_elsewhere_than_on_linux_nothing_is_said(tmp_path):
    assert half_precision_warning('float16', tmp_path / 'nowhere') is None


@pytest.mark.skipif(bool(tf.config.list_physical_devices('GPU')), reason='TensorFlow finds a GPU')
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

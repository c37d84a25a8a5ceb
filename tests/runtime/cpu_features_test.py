"""Whether the processor has instructions for a precision, from Linux's description of it."""

import pytest

from cyclegan_tf.runtime.cpu_features import half_precision_warning


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

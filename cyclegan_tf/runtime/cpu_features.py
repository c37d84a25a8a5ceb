"""Whether this machine's processor has instructions for a precision."""

from __future__ import annotations

import pathlib
from typing import Optional

# As Linux names them: of x86 processors, and of ARM's.
_INSTRUCTIONS = {
    'float16': ('avx512_fp16', 'amx_fp16', 'asimdhp'),
    'bfloat16': ('avx512_bf16', 'amx_bf16', 'bf16'),
}


def half_precision_warning(precision: str, cpuinfo: pathlib.Path = pathlib.Path('/proc/cpuinfo')) -> Optional[str]:
    """One line where the CPU has no instructions for a precision, else None.

    Args:
        precision: see layers.PRECISIONS.
        cpuinfo: Linux's description of the processors; where there is none nothing is known, and nothing is said.
    """
    if precision not in _INSTRUCTIONS or not cpuinfo.is_file():
        return None
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(':')
        if name.strip() in ('flags', 'Features'):
            if set(_INSTRUCTIONS[precision]) & set(value.split()):
                return None
            wanted = ', '.join(_INSTRUCTIONS[precision])
            return (
                f'Warning: this CPU has no instructions for {precision} ({wanted}), which will be slower than float32 '
                f'here.'
            )
    return None

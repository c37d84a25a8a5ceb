"""What this machine has: memory that is free, instructions for a precision, GPUs that TensorFlow finds or does not."""

from __future__ import annotations

import os
import pathlib
from typing import Optional

import psutil
import tensorflow as tf

# As Linux names them: of x86 processors, and of ARM's.
_INSTRUCTIONS = {
    'float16': ('avx512_fp16', 'amx_fp16', 'asimdhp'),
    'bfloat16': ('avx512_bf16', 'amx_bf16', 'bf16'),
}


def half_precision_warning(precision: str, cpuinfo: pathlib.Path = pathlib.Path('/proc/cpuinfo')) -> Optional[str]:
    """One line where the CPU has no instructions for a precision, else None.

    Args:
        precision: 'float32', 'bfloat16' or 'float16'.
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


def device_kind() -> str:
    """'GPU' where TensorFlow has one that it may use, else 'CPU'."""
    return 'GPU' if tf.config.get_visible_devices('GPU') else 'CPU'


def missing_gpu_warning(device_files: pathlib.Path = pathlib.Path('/dev')) -> Optional[str]:
    """One line where the NVIDIA driver shows a GPU, nobody hides it, and TensorFlow has found none; else None.

    TensorFlow's own line is not to be seen: it comes on every machine without a GPU, too.

    Args:
        device_files: where Linux has them; where there are none of NVIDIA's, nothing is said.
    """
    there = sorted(device_files.glob('nvidia[0-9]*'))
    # As CUDA reads it: nothing from the first entry on that names no device; Slurm writes a word.
    first = os.environ.get('CUDA_VISIBLE_DEVICES', '0').split(',')[0].strip()
    if not there or first in ('', 'NoDevFiles') or first.startswith('-') or tf.config.list_physical_devices('GPU'):
        return None
    return (
        f'Warning: this machine has a GPU ({there[0]}) that TensorFlow does not find, so the CPU is used, which is far '
        f"slower; install CUDA's libraries with pip install '.[gpu]', and see by nvidia-smi whether the driver works."
    )


def free_memory() -> int:
    """Bytes that this process may still take: the machine's, or its control group's if that has less."""
    free = psutil.virtual_memory().available
    for limit, used in (
        ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'),
        ('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory/memory.usage_in_bytes'),
    ):
        paths = pathlib.Path(limit), pathlib.Path(used)
        if all(path.is_file() for path in paths):
            most, now = (path.read_text().strip() for path in paths)
            if most != 'max':
                free = min(free, max(0, int(most) - int(now)))
    return free

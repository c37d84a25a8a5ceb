"""The hardware of this machine: free memory, instructions for a precision, and GPUs that TensorFlow finds or misses."""

from __future__ import annotations

import os
import pathlib
from typing import Optional

import psutil
import tensorflow as tf

# By their names in Linux, for x86 and ARM processors.
_INSTRUCTIONS = {
    'float16': ('avx512_fp16', 'amx_fp16', 'asimdhp'),
    'bfloat16': ('avx512_bf16', 'amx_bf16', 'bf16'),
}


def half_precision_warning(precision: str, cpuinfo: pathlib.Path = pathlib.Path('/proc/cpuinfo')) -> Optional[str]:
    """A warning if the CPU has no instructions for a precision, else None.

    Args:
        precision: 'float32', 'bfloat16' or 'float16'.
        cpuinfo: Linux's description of the processors; if it does not exist, nothing is known and None is returned.
    """
    if precision not in _INSTRUCTIONS or not cpuinfo.is_file():
        return None
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(':')
        if name.strip() in ('flags', 'Features'):
            if set(_INSTRUCTIONS[precision]) & set(value.split()):
                return None
            missing = ', '.join(_INSTRUCTIONS[precision])
            return (
                f'Warning: this CPU has no instructions for {precision} ({missing}), so it will be slower than '
                f'float32 here.'
            )
    return None


def device_kind() -> str:
    """'GPU' if TensorFlow has one that it may use, else 'CPU'."""
    return 'GPU' if tf.config.get_visible_devices('GPU') else 'CPU'


def missing_gpu_warning(device_files: pathlib.Path = pathlib.Path('/dev')) -> Optional[str]:
    """A warning if the NVIDIA driver offers a GPU that is not hidden, but TensorFlow has found none; else None.

    TensorFlow's own message is suppressed, since it also appears on every machine without a GPU.

    Args:
        device_files: Linux's folder of device files; if it has none of NVIDIA's, None is returned.
    """
    gpus = sorted(device_files.glob('nvidia[0-9]*'))
    # CUDA ignores the list from the first entry on that is not a device; Slurm writes the word NoDevFiles.
    first = os.environ.get('CUDA_VISIBLE_DEVICES', '0').split(',')[0].strip()
    if not gpus or first in ('', 'NoDevFiles') or first.startswith('-') or tf.config.list_physical_devices('GPU'):
        return None
    return (
        f'Warning: this machine has a GPU ({gpus[0]}) that TensorFlow does not find, so the CPU is used, which is far '
        f"slower; install CUDA's libraries with pip install '.[gpu]', and check the driver with nvidia-smi."
    )


def free_memory() -> int:
    """Bytes of memory that this process may still use: the machine's, or its control group's if that has less."""
    free = psutil.virtual_memory().available
    for limit, used in (
        ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'),
        ('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory/memory.usage_in_bytes'),
    ):
        paths = pathlib.Path(limit), pathlib.Path(used)
        if all(path.is_file() for path in paths):
            maximum, current = (path.read_text().strip() for path in paths)
            if maximum != 'max':
                free = min(free, max(0, int(maximum) - int(current)))
    return free

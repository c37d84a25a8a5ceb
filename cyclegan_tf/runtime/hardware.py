"""The hardware of this machine: free memory, instructions for a precision, and GPUs that TensorFlow finds or misses."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Optional

import psutil
import tensorflow as tf

from cyclegan_tf.runtime import allocator

# By their names in Linux, for x86 and ARM processors.
_INSTRUCTIONS = {
    'float16': ('avx512_fp16', 'amx_fp16', 'asimdhp'),
    'bfloat16': ('avx512_bf16', 'amx_bf16', 'bf16'),
}

MOST_PER_BATCH = 8
_PIXELS_AT_ONCE = 1 << 16


def choose_precision(
    precision: str, emulate: bool = False, cpuinfo: pathlib.Path = pathlib.Path('/proc/cpuinfo')
) -> tuple[str, Optional[str]]:
    """The precision in which to compute here: on CPUs without instructions for `precision` it is float32, which is
    several times faster there.

    Args:
        precision: 'float32', 'bfloat16' or 'float16'.
        emulate: compute in `precision` nevertheless.
        cpuinfo: Linux's description of the processors; if it does not exist, nothing is known and `precision` is used.

    Returns:
        The precision to use; and a warning if CPUs compute and have no instructions for `precision`, else None.
    """
    missing = _missing_instructions(precision, cpuinfo)
    if not missing or device_kind() == 'GPU':
        return precision, None
    reason = f'Warning: this CPU has no instructions for {precision} ({", ".join(missing)})'
    if emulate:
        return precision, f'{reason}, so it will be far slower than float32 here.'
    return 'float32', f'{reason}, so float32 is used, which is faster here; --emulate_precision uses {precision}.'


def _missing_instructions(precision: str, cpuinfo: pathlib.Path) -> Sequence[str]:
    """Those of which this CPU would need one to compute in a precision; empty if it has one, or if that is unknown."""
    if precision not in _INSTRUCTIONS or not cpuinfo.is_file():
        return ()
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(':')
        if name.strip() in ('flags', 'Features'):
            return () if set(_INSTRUCTIONS[precision]) & set(value.split()) else _INSTRUCTIONS[precision]
    return ()


def device_kind() -> str:
    """'GPU' if TensorFlow has one that it may use, else 'CPU'."""
    return 'GPU' if tf.config.get_visible_devices('GPU') else 'CPU'


def prepare_translation() -> None:
    """Sets this process up for translating, on CPUs; to be called by programs that do nothing else."""
    if device_kind() == 'CPU':
        allocator.keep_buffers()
        # It takes time at the start, and makes translation neither faster nor smaller.
        tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True})


def images_per_batch(pixels: int) -> int:
    """How many images of so many pixels a generator translates at once, if nothing else is asked for.

    On CPUs, larger batches than these are slower: the features of more than 65,536 pixels leave the caches, and glibc
    returns buffers of 32 MiB and more to the system after each use, so that their pages have to be cleared again.
    """
    return MOST_PER_BATCH if device_kind() == 'GPU' else max(1, min(MOST_PER_BATCH, _PIXELS_AT_ONCE // pixels))


def describe_batches(batch_size: Optional[int]) -> str:
    """In words, how many images are translated at once, with --batch_size=batch_size or with images_per_batch."""
    if batch_size is not None or device_kind() == 'GPU':
        return f'Batches have at most {batch_size or MOST_PER_BATCH} images (--batch_size).'
    return f'Batches have at most {_PIXELS_AT_ONCE:,} pixels, but one to {MOST_PER_BATCH} images (--batch_size).'


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


def free_memory(
    groups: pathlib.Path = pathlib.Path('/proc/self/cgroup'), mount: pathlib.Path = pathlib.Path('/sys/fs/cgroup')
) -> int:
    """Bytes of memory that this process may still use: the machine's, or less if its control group or one around that
    has less left. What the kernel caches of files counts as free.

    Args:
        groups: Linux's list of the groups that this process is in, see cgroups(7).
        mount: where groups have their folders.
    """
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError):  # another system than Linux
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(':', 2)
            if not controllers:
                hierarchy, names = mount, _MEMORY_FILES
            elif 'memory' in controllers.split(','):
                hierarchy, names = mount / 'memory', _MEMORY_FILES_OF_VERSION_1
            else:
                continue
            # In a container, the path may be that outside of it, while the container's own group is the mount.
            own = hierarchy / path.lstrip('/')
            for folder in (own, *own.parents):
                free = min(free, _left_in_group(folder, *names))
                if folder == hierarchy:
                    break
    return free


# Files of a group in both versions of control groups: the limit, what is used, and what of that are the kernel's caches
# of files, which it gives up when memory is needed.
_MEMORY_FILES = 'memory.max', 'memory.current', ('active_file', 'inactive_file')
_MEMORY_FILES_OF_VERSION_1 = (
    'memory.limit_in_bytes',
    'memory.usage_in_bytes',
    ('total_active_file', 'total_inactive_file'),
)


def _left_in_group(folder: pathlib.Path, limit: str, used: str, cached: Sequence[str]) -> float:
    """Bytes that are left in a group; infinity without a limit."""
    try:
        maximum = (folder / limit).read_text().strip()
        if maximum == 'max':
            return math.inf
        current = int((folder / used).read_text())
        statistics = dict(line.split() for line in (folder / 'memory.stat').read_text().splitlines())
    except OSError:
        return math.inf  # there is no such group here, or it has no limit
    return max(0, int(maximum) - current + sum(int(statistics.get(name, 0)) for name in cached))

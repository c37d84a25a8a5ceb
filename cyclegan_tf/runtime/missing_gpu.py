"""Whether this machine has a GPU that TensorFlow does not find."""

from __future__ import annotations

import os
import pathlib
from typing import Optional

import tensorflow as tf


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

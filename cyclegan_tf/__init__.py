"""CycleGAN, unpaired image-to-image translation, in TensorFlow and Keras."""

import contextlib
import importlib.metadata
import os
import platform

# From TensorFlow 2.16 on, tf.keras is Keras 3 unless this variable says otherwise; it is read when tf.keras is
# first used, so it must be set before. On TensorFlow 2.15 the variable must stay unset: there tf_keras is not needed.
with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # the client of a server does without TensorFlow
    if tuple(int(part) for part in importlib.metadata.version('tensorflow').split('.')[:2]) >= (2, 16):
        os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # notices of missing GPUs hide the lines that matter
# TensorFlow reads it when it is imported, and uses oneDNN by itself only on x86 processors with AVX512_VNNI or the
# like. With AVX2 alone a step is faster with it, too (docs/performance.md); other processors are left as they are.
if platform.machine().lower() in ('x86_64', 'amd64'):
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

__version__ = '0.1.0'


def load(run_directory, epoch='latest', max_pixels=None):
    """A trained run, to translate with from Python.

    Args:
        run_directory: CHECKPOINTS_DIR/NAME.
        epoch: 'latest', 'best', or the number of an epoch whose end was saved.
        max_pixels: images with more are translated in tiles; None: what fits into half of the machine's free memory.

    Returns:
        A cyclegan_tf.translation.translator.Translator, whose translate(images, direction=None) takes uint8, uint16 or
        float images in [-1, 1], [h, w, c] or [n, h, w, c] of any size; without a direction, as in 'BtoA', it is AtoB,
        or the only one that the run has.

    Raises:
        cyclegan_tf.errors.UserError: there is no such run or checkpoint, or `epoch` is none of these.
    """
    import pathlib

    # TensorFlow takes seconds to import, which the programs' --help should not pay for.
    from cyclegan_tf.runs import checkpoints
    from cyclegan_tf.settings.run_flags import load_config
    from cyclegan_tf.translation.translator import Translator

    config = load_config(run_directory)
    return Translator.from_checkpoint(config, checkpoints.find(pathlib.Path(run_directory), str(epoch)), max_pixels)

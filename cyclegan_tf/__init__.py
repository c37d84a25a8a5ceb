"""CycleGAN, pix2pix and CUT, image-to-image translation, in TensorFlow and Keras."""

import contextlib
import importlib.metadata
import os
import platform

# From TensorFlow 2.16 on, tf.keras is Keras 3 unless this variable selects Keras 2, the package tf-keras. It is read
# when tf.keras is first used, so it must be set before that. On TensorFlow 2.15, which needs no tf-keras, it must stay
# unset.
with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # tools/serving_client.py runs without TensorFlow
    if tuple(int(part) for part in importlib.metadata.version('tensorflow').split('.')[:2]) >= (2, 16):
        os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # messages about missing GPUs would bury the lines that matter
# TensorFlow reads this variable when it is imported. By default it uses oneDNN only on x86 processors with AVX512_VNNI
# or similar instructions. With AVX2 alone a step is faster with oneDNN, too (docs/performance.md). Other processors
# keep TensorFlow's default.
if platform.machine().lower() in ('x86_64', 'amd64'):
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

__version__ = '0.1.0'


def load(
    run_directory,
    epoch='latest',
    max_pixels=None,
    batch_statistics=None,
    test_dropout=None,
    seed=None,
    weights='average',
):
    """Loads a trained run, to translate images from Python.

    Args:
        run_directory: CHECKPOINTS_DIR/NAME.
        epoch: 'latest', 'best', or the number of an epoch whose end was saved.
        max_pixels: images with more pixels are translated in tiles; None: as many as fit into half of the machine's
            free memory.
        batch_statistics: whether batch norm uses each image's own statistics; None: as the run does.
        test_dropout: whether dropout is on; None: as the run does.
        seed: of that dropout; None: the run's. A result depends on it and on the image's name, which translate takes as
            `names`.
        weights: which weights of a run with --ema_decay: 'average', their running mean, or 'last'.

    Returns:
        A cyclegan_tf.translation.translator.Translator. Its translate(images, direction=None) takes uint8, uint16 or
        float images, the latter in [-1, 1], as [h, w, c] or [n, h, w, c] of any size; for a run with a value range it
        takes numbers in that range. `direction` is 'AtoB' or 'BtoA'; None: AtoB, or the only direction that the run
        has.

    Raises:
        cyclegan_tf.errors.UserError: the run or the checkpoint does not exist, or `epoch` is none of these values.
    """
    import pathlib

    # TensorFlow takes seconds to import, which the programs' --help should not pay for.
    from cyclegan_tf.runs import checkpoints
    from cyclegan_tf.settings.run_flags import load_config
    from cyclegan_tf.translation.translator import Translator

    config = load_config(run_directory)
    checkpoint = checkpoints.find(pathlib.Path(run_directory), str(epoch))
    return Translator.from_checkpoint(
        config,
        checkpoint,
        max_pixels,
        batch_statistics=batch_statistics,
        test_dropout=test_dropout,
        seed=seed,
        weights=weights,
    )

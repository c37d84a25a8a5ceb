"""CycleGAN, unpaired image-to-image translation, in TensorFlow and Keras."""

import importlib.metadata
import os

# From TensorFlow 2.16 on, tf.keras is Keras 3 unless this variable says otherwise; it is read when tf.keras is
# first used, so it must be set before. On TensorFlow 2.15 the variable must stay unset: there tf_keras is not needed.
if tuple(int(part) for part in importlib.metadata.version('tensorflow').split('.')[:2]) >= (2, 16):
    os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # notices of missing GPUs hide the lines that matter

__version__ = '0.1.0'

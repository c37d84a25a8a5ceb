"""Instance normalisation in one kernel: fused batch norm in training mode, on a batch of a single image.

The kernel computes its statistics in float32 in every precision. Its second derivative is not reliable, and it does not
support float64.
"""

from __future__ import annotations

import tensorflow as tf

_SPLIT_IMAGES = 4  # up to this many images are normalised one by one; larger batches are transposed


def normalise_images(x: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Normalises each channel of each image to mean 0 and variance 1.

    Args:
        x: float32, bfloat16 or float16 [b, h, w, c], with c known statically.
        epsilon: added to the biased variance.

    Returns:
        The same shape and dtype.
    """
    b, c = x.shape[0], x.shape[3]
    if b is not None and b <= _SPLIT_IMAGES:
        if b > 1:
            return tf.concat([_normalise_image(image, c, epsilon) for image in tf.split(x, b)], axis=0)
        return _normalise_image(x, c, epsilon)
    # Images become channels. If the batch, whose size is not known, has one image, neither transposition copies it.
    b, h, w, _ = tf.unstack(tf.shape(x))
    wide = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [1, h, w, b * c])
    wide = tf.reshape(_normalise_image(wide, b * c, epsilon), [h, w, b, c])
    return tf.ensure_shape(tf.transpose(wide, [2, 0, 1, 3]), x.shape)


def _normalise_image(x: tf.Tensor, channels, epsilon: float) -> tf.Tensor:
    """Normalises each channel of [1, h, w, channels] by itself."""
    nothing = tf.zeros([0])  # running statistics, which training mode does not read
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.ones([channels]),
        offset=tf.zeros([channels]),
        mean=nothing,
        variance=nothing,
        epsilon=epsilon,
        is_training=True,
    ).y

"""Instance normalisation by one kernel: to a fused batch norm in training, a lone image is the whole batch.

The kernel has its statistics in float32 in every precision. Its second derivative is not to be relied on, and it knows
no float64.
"""

from __future__ import annotations

import tensorflow as tf

_SPLIT_IMAGES = 4  # up to so many images are normalised one by one, more by transposing


def normalise_images(x: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Each channel of each image to mean 0 and variance 1.

    Args:
        x: float32, bfloat16 or float16 [b, h, w, c], c known.
        epsilon: added to the biased variance.

    Returns:
        The same shape and dtype.
    """
    b, c = x.shape[0], x.shape[3]
    if b is not None and b <= _SPLIT_IMAGES:
        if b > 1:
            return tf.concat([_normalise_image(image, c, epsilon) for image in tf.split(x, b)], axis=0)
        return _normalise_image(x, c, epsilon)
    # Images as channels. Where there is one image in spite of the unknown number, neither transposition copies.
    b, h, w, _ = tf.unstack(tf.shape(x))
    wide = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [1, h, w, b * c])
    wide = tf.reshape(_normalise_image(wide, b * c, epsilon), [h, w, b, c])
    return tf.ensure_shape(tf.transpose(wide, [2, 0, 1, 3]), x.shape)


def _normalise_image(x: tf.Tensor, channels, epsilon: float) -> tf.Tensor:
    """[1, h, w, channels], each channel by itself."""
    nothing = tf.zeros([0])  # no running statistics come in
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.ones([channels]),
        offset=tf.zeros([channels]),
        mean=nothing,
        variance=nothing,
        epsilon=epsilon,
        is_training=True,
    ).y

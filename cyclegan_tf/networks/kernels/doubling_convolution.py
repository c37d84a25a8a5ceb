"""Transposed 3x3 convolutions of stride 2 as forward convolutions.

An even row of the result sees one row of the image, an odd row that and the next; columns likewise. One convolution
makes all even rows, one all odd ones, each with its even and odd columns as channels (a quarter of the products are
with zeros). On a CPU this is faster than TensorFlow's own, whose gradients are slow, and which in 2.21 keeps memory for
every size of image that it has seen.
"""

from __future__ import annotations

import tensorflow as tf

from cyclegan_tf.networks.shapes import sides


def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """What torch.nn.functional.conv_transpose2d does with stride 2, padding 1 and output_padding 1; its gradients too.

    Args:
        x: float [b, h, w, c].
        kernel: [3, 3, filters, c] as Keras has it, of the dtype of x.

    Returns:
        [b, 2*h, 2*w, filters], of the dtype of x.
    """
    b, h, w, _ = sides(x)
    filters, channels = kernel.shape[2:]
    # Of a pixel an even column sees the kernel's column 1 and an odd one 2; of the next pixel, none and 0.
    first, others = tf.split(kernel, [1, 2], axis=1)
    kernel = tf.reshape(tf.concat([others, tf.zeros_like(first), first], axis=1), [3, 2, 2, filters, channels])
    kernel = tf.reshape(tf.transpose(kernel, [0, 1, 4, 2, 3]), [3, 2, channels, 2 * filters])
    top, middle, bottom = tf.split(kernel, 3)

    # A row and a column of zeros beyond the last; a slice of one padded image would cost a gradient of its own.
    def forward(kernel, below):
        return tf.nn.conv2d(tf.pad(x, [[0, 0], [0, below], [0, 1], [0, 0]]), kernel, 1, 'VALID')

    even = forward(middle, below=0)  # [b, h, w, 2*filters]
    odd = forward(tf.concat([bottom, top], axis=0), below=1)  # [b, h, w, 2*filters]
    return tf.reshape(tf.stack([even, odd], axis=2), [b, 2 * h, 2 * w, filters])

"""Convolutions as PyTorch pads them."""

from __future__ import annotations

import tensorflow as tf

from cyclegan_tf.networks.kernels import doubling_convolution, narrow_convolution, winograd
from cyclegan_tf.networks.layers import pad_zero
from cyclegan_tf.networks.precision import full_precision
from cyclegan_tf.networks.shapes import sides


class Conv(tf.keras.layers.Conv2D):
    """A convolution with zero padding on all sides, as torch.nn.Conv2d.

    TensorFlow's 'same' pads a 3x3 convolution of stride 2 by (0, 1) and keeps the size of a 4x4 one of stride 1.

    Input: [b, h, w, c]. Output: [b, (h + 2*pad - kernel) // stride + 1, likewise w, filters].
    """

    def __init__(self, filters, kernel, stride=1, pad=0, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(
            filters, kernel, stride, padding='valid', use_bias=use_bias, kernel_initializer=kernel_initializer
        )
        self._pad = pad

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # There TensorFlow's 'same' is PyTorch's padding too, and no padded copy is made.
        halves = (*self.kernel_size, *self.strides, self._pad) == (4, 4, 2, 2, 1)
        same = halves and all(side is not None and side % 2 == 0 for side in x.shape[1:3])
        padded = pad_zero(x, self._pad) if self._pad and not same else x
        y = tf.nn.conv2d(padded, tf.cast(self.kernel, x.dtype), self.strides, 'SAME' if same else 'VALID')
        return tf.nn.bias_add(y, tf.cast(self.bias, x.dtype)) if self.use_bias else y


class BlockConv(Conv):
    """A 3x3 convolution of stride 1 without padding, by Winograd's algorithm where that is faster.

    Input: [b, h, w, c]. Output: [b, h - 2, w - 2, filters].
    """

    def __init__(self, filters, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(filters, 3, use_bias=use_bias, kernel_initializer=kernel_initializer)
        self.plain = False
        """True leaves the work to TensorFlow's own convolution in what is traced from now on."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        fast = not self.plain and winograd.is_faster(x, self.filters)
        y = winograd.convolve(x, kernel) if fast else tf.nn.conv2d(x, kernel, 1, 'VALID')
        return tf.nn.bias_add(y, tf.cast(self.bias, x.dtype)) if self.use_bias else y


class NarrowConv(tf.keras.layers.Conv2D):
    """A convolution of stride 1 without padding, for a few filters.

    Input: [b, h, w, c], where w - kernel + 1 is a multiple of 4. Output: [b, h - kernel + 1, w - kernel + 1, filters].
    """

    def __init__(self, filters, kernel, kernel_initializer='glorot_uniform'):
        super().__init__(filters, kernel, padding='valid', kernel_initializer=kernel_initializer)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return _add_bias(narrow_convolution.convolve(x, tf.cast(self.kernel, x.dtype)), self.bias)


class UpConv(tf.keras.layers.Conv2DTranspose):
    """A transposed convolution of stride 2 that doubles the sides, as torch.nn.ConvTranspose2d with padding 1.

    Kernel 3 stands for PyTorch's output_padding 1, kernel 4 for output_padding 0. Keras's 'same' is shifted by one
    pixel against PyTorch for kernel 3.

    Input: [b, h, w, c]. Output: [b, 2*h, 2*w, filters].
    """

    def __init__(self, filters, kernel, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(filters, kernel, 2, padding='same', use_bias=use_bias, kernel_initializer=kernel_initializer)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        if self.kernel_size == (4, 4):
            b, h, w, _ = sides(x)
            y = tf.nn.conv2d_transpose(x, kernel, [b, 2 * h, 2 * w, self.filters], 2, 'SAME')
        else:
            y = doubling_convolution.convolve(x, kernel)
        return _add_bias(y, self.bias) if self.use_bias else y


def _add_bias(y: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """y + bias for a result that no convolution's own kernel adds it to.

    In full precision: otherwise the bias's gradient is a sum in the dtype of y, and one in bfloat16 stands still
    after 256 terms.
    """
    wide = full_precision(y)
    return tf.cast(tf.nn.bias_add(wide, tf.cast(bias, wide.dtype)), y.dtype)

"""Convolutions as PyTorch pads them, in forms that CPUs compute fast."""

from __future__ import annotations

import tensorflow as tf

from cyclegan_tf.networks.kernels import winograd
from cyclegan_tf.networks.layers import pad_zero
from cyclegan_tf.networks.precision import full_precision
from cyclegan_tf.networks.shapes import sides
from cyclegan_tf.runtime.hardware import device_kind

_COLUMNS = 4  # that NarrowConv computes at once; measured against 2 and 8
_WINOGRAD_CHANNELS, _WINOGRAD_SIDE = 128, 24  # (of padded images) from which on it is faster on CPUs; measured


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
    """A 3x3 convolution of stride 1 without padding, on CPUs in float32 of large images by Winograd's algorithm.

    Input: [b, h, w, c]. Output: [b, h - 2, w - 2, filters].
    """

    def __init__(self, filters, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(filters, 3, use_bias=use_bias, kernel_initializer=kernel_initializer)
        self.plain = False
        """True leaves the work to TensorFlow's own convolution in what is traced from now on."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        # On GPUs cuDNN chooses among algorithms by itself, and in half precision the transformed tiles lose too much.
        small = min(x.shape[3], self.filters) < _WINOGRAD_CHANNELS
        small = small or any(side is not None and side < _WINOGRAD_SIDE for side in x.shape[1:3])
        if self.plain or small or x.dtype != tf.float32 or device_kind() == 'GPU':
            y = tf.nn.conv2d(x, kernel, 1, 'VALID')
        else:
            y = winograd.convolve(x, kernel)
        return tf.nn.bias_add(y, tf.cast(self.bias, x.dtype)) if self.use_bias else y


class NarrowConv(tf.keras.layers.Conv2D):
    """A convolution without padding to a few channels, computed for four columns at a time.

    A CPU's convolutions fill vectors of 16 with output channels; three leave most of one empty. Four columns of three
    channels fill it, at the cost of a kernel that is three columns wider.

    Input: [b, h, w, c], where w - kernel + 1 is a multiple of 4. Output: [b, h - kernel + 1, w - kernel + 1, filters].
    """

    def __init__(self, filters, kernel, kernel_initializer='glorot_uniform'):
        super().__init__(filters, kernel, padding='valid', kernel_initializer=kernel_initializer)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        # [k, k, c, f] -> [k, k+3, c, 4, f]: for each of four columns the kernel at its place
        shifted = [tf.pad(kernel, [[0, 0], [i, _COLUMNS - 1 - i], [0, 0], [0, 0]]) for i in range(_COLUMNS)]
        height, width, channels, _ = shifted[0].shape
        kernel = tf.reshape(tf.stack(shifted, axis=3), [height, width, channels, _COLUMNS * self.filters])
        y = tf.nn.conv2d(x, kernel, [1, 1, _COLUMNS, 1], 'VALID')  # [b, h', w'/4, 4*filters]
        b, h, w, _ = sides(y)
        return _add_bias(tf.reshape(y, [b, h, w * _COLUMNS, self.filters]), self.bias)


class UpConv(tf.keras.layers.Conv2DTranspose):
    """A transposed convolution of stride 2 that doubles the sides, as torch.nn.ConvTranspose2d with padding 1.

    Kernel 3 stands for PyTorch's output_padding 1, kernel 4 for output_padding 0. Keras's 'same' is shifted by one
    pixel against PyTorch for kernel 3.

    Input: [b, h, w, c]. Output: [b, 2*h, 2*w, filters].
    """

    def __init__(self, filters, kernel, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(filters, kernel, 2, padding='same', use_bias=use_bias, kernel_initializer=kernel_initializer)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.kernel_size == (4, 4):
            b, h, w, _ = sides(x)
            kernel, size = tf.cast(self.kernel, x.dtype), [b, 2 * h, 2 * w, self.filters]
            y = tf.nn.conv2d_transpose(x, kernel, size, 2, 'SAME')  # [b, 2*h, 2*w, filters]
        else:
            y = _double(x, tf.cast(self.kernel, x.dtype))  # [b, 2*h, 2*w, filters]
        return _add_bias(y, self.bias) if self.use_bias else y


def _add_bias(y: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """y + bias for a result that no convolution's own kernel adds it to.

    In full precision: otherwise the bias's gradient is a sum in the dtype of y, and one in bfloat16 stands still
    after 256 terms.
    """
    wide = full_precision(y)
    return tf.cast(tf.nn.bias_add(wide, tf.cast(bias, wide.dtype)), y.dtype)


def _double(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A transposed 3x3 convolution of stride 2 as forward convolutions: [b, h, w, c] -> [b, 2*h, 2*w, filters].

    An even row of the result sees one row of the image, an odd row that and the next; columns likewise. One
    convolution makes all even rows, one all odd ones, each with its even and odd columns as channels (a quarter of the
    products are with zeros). On a CPU this is faster than TensorFlow's own, whose gradients are slow, and which in
    2.21 keeps memory for every size of image that it has seen.

    Args:
        x: float [b, h, w, c].
        kernel: [3, 3, filters, c] as Keras has it.
    """
    b, h, w, _ = sides(x)
    filters, channels = kernel.shape[2:]
    # Of a pixel an even column sees the kernel's column 1 and an odd one 2; of the next pixel, none and 0.
    first, others = tf.split(kernel, [1, 2], axis=1)
    kernel = tf.reshape(tf.concat([others, tf.zeros_like(first), first], axis=1), [3, 2, 2, filters, channels])
    kernel = tf.reshape(tf.transpose(kernel, [0, 1, 4, 2, 3]), [3, 2, channels, 2 * filters])
    top, middle, bottom = tf.split(kernel, 3)

    # A row and a column of zeros beyond the last; a slice of one padded image would cost a gradient of its own.
    def convolve(kernel, below):
        return tf.nn.conv2d(tf.pad(x, [[0, 0], [0, below], [0, 1], [0, 0]]), kernel, 1, 'VALID')

    even = convolve(middle, below=0)  # [b, h, w, 2*filters]
    odd = convolve(tf.concat([bottom, top], axis=0), below=1)  # [b, h, w, 2*filters]
    return tf.reshape(tf.stack([even, odd], axis=2), [b, 2 * h, 2 * w, filters])

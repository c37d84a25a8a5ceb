"""Convolutions as PyTorch pads them; with spectral normalisation; and what doubles the sides of feature maps."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from cyclegan_tf.networks.kernels import winograd
from cyclegan_tf.networks.layers import pad_reflect, pad_zero
from cyclegan_tf.networks.precision import full_precision
from cyclegan_tf.networks.shapes import sides


class Conv(tf.keras.layers.Conv2D):
    """A convolution with zero padding on all sides, as torch.nn.Conv2d.

    TensorFlow's 'same' padding is different: it pads a 3x3 convolution of stride 2 by (0, 1), and it keeps the size in
    a 4x4 convolution of stride 1.

    Input: [b, h, w, c]. Output: [b, h', w', filters] with h' = (h + 2*pad - kernel) // stride + 1; w' likewise.
    """

    def __init__(self, filters, kernel, stride=1, pad=0, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(
            filters, kernel, stride, padding='valid', use_bias=use_bias, kernel_initializer=kernel_initializer
        )
        self._pad = pad

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # In this case TensorFlow's 'SAME' pads as PyTorch does, and no padded copy is needed.
        halves = (*self.kernel_size, *self.strides, self._pad) == (4, 4, 2, 2, 1)
        same = halves and all(side is not None and side % 2 == 0 for side in x.shape[1:3])
        padded = pad_zero(x, self._pad) if self._pad and not same else x
        y = self._scaled(tf.nn.conv2d(padded, tf.cast(self.kernel, x.dtype), self.strides, 'SAME' if same else 'VALID'))
        return _add_bias(y, self.bias) if self.use_bias else y

    def _scaled(self, y: tf.Tensor) -> tf.Tensor:
        """What is made of the kernel's output before the bias is added."""
        return y


class SpectralConv(Conv):
    """A convolution whose kernel is divided by its largest singular value, as a matrix of output channels by the rest:
    W / sigma(W), spectral normalisation (Miyato et al. 2018).

    sigma = ||W^T u||, where u is the stored estimate of the first left singular vector. Gradients treat both singular
    vectors as constants, as the paper does. The estimate is improved once a step, by update_singular_vectors.

    It is the output that is divided, which comes to the same: kernels of discriminators are larger than their outputs
    for images of 64x64, and a divided kernel would have to be differentiated, too.

    Args, input and output: as for Conv. u starts at what FIRST_ITERATIONS find from a random vector.
    """

    FIRST_ITERATIONS = 15  # as torch.nn.utils.parametrizations.spectral_norm starts

    def __init__(self, *args, seed: int, **kwargs):
        super().__init__(*args, **kwargs)
        self._seed = seed

    def build(self, input_shape):
        super().build(input_shape)
        start = tf.random.stateless_normal([self.filters], [self._seed, 0], dtype=self.dtype)
        self.u = self.add_weight(
            'u', [self.filters], initializer=lambda *_, **__: tf.math.l2_normalize(start), trainable=False
        )
        for _ in range(self.FIRST_ITERATIONS):
            _iterate(self.u, self.kernel)

    def _scaled(self, y: tf.Tensor) -> tf.Tensor:
        product = tf.linalg.matvec(tf.reshape(_read(self.kernel), [-1, self.filters]), _read(self.u))  # sigma * v
        sigma = tf.tensordot(tf.stop_gradient(tf.math.l2_normalize(product)), product, 1)
        return y / tf.cast(sigma, y.dtype)


def update_singular_vectors(network: tf.keras.Model) -> None:
    """One power iteration for each SpectralConv of a network, in replica context."""
    layers = [layer for layer in network.submodules if isinstance(layer, SpectralConv)]

    def iterate_all(strategy):
        for layer in layers:
            strategy.extended.update(layer.u, _iterate, args=(layer.kernel,), group=False)

    if layers:
        tf.distribute.get_replica_context().merge_call(iterate_all)


def _iterate(u: tf.Variable, kernel: tf.Variable) -> None:
    before, matrix = _read(u), tf.reshape(_read(kernel), [-1, kernel.shape[-1]])  # W^T, [kh * kw * in, out]
    v = tf.math.l2_normalize(tf.linalg.matvec(matrix, before))
    u.assign(tf.math.l2_normalize(tf.linalg.matvec(matrix, v, transpose_a=True)))


def _read(variable: tf.Variable) -> tf.Tensor:
    """The value; where Keras reads variables in half precision, rounded to that, but in float32."""
    return full_precision(tf.convert_to_tensor(variable))


class Conv3x3(Conv):
    """A 3x3 convolution of stride 1, by Winograd's algorithm where that is faster.

    Input: [b, h, w, c]. Output: [b, h - 2 + 2*pad, w - 2 + 2*pad, filters].
    """

    def __init__(self, filters, pad=0, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(filters, 3, pad=pad, use_bias=use_bias, kernel_initializer=kernel_initializer)
        self.plain = False
        """If True, functions traced from now on use TensorFlow's own convolution."""
        self.chose_winograd: Optional[bool] = None
        """Whether the last call used Winograd's algorithm; None: there was no call."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        x = pad_zero(x, self._pad) if self._pad else x
        fast = self.chose_winograd = not self.plain and winograd.is_faster(x, self.filters)
        y = winograd.convolve(x, kernel) if fast else tf.nn.conv2d(x, kernel, 1, 'VALID')
        return _add_bias(y, self.bias) if self.use_bias else y


class ResizeConv(Conv3x3):
    """Doubles height and width by repeating each pixel, and convolves the result, mirrored at the border: unlike a
    transposed convolution, each result sees as many pixels as any other, so that there is no checkerboard (Odena et al.
    2016).

    Input: [b, h, w, c]. Output: [b, 2*h, 2*w, filters].
    """

    def __init__(self, filters, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(filters, 0, use_bias, kernel_initializer)

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        return tf.TensorShape([batch, *(side and 2 * side for side in sides), self.filters])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        repeated = tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
        return super().call(pad_reflect(repeated, 1))


# Kernel size -> padding of the forward convolution whose gradient the transposed convolution is. With kernel 3, one row
# and one column have to be dropped. TensorFlow's 'SAME' drops them at the bottom and the right, which would shift the
# result by one pixel from PyTorch's.
_PADDINGS = {3: [[0, 0], [1, 0], [1, 0], [0, 0]], 4: 'SAME'}


class UpConv(tf.keras.layers.Conv2DTranspose):
    """A transposed convolution of stride 2 that doubles height and width, as torch.nn.ConvTranspose2d with padding 1.

    Kernel 3 corresponds to PyTorch's output_padding 1, kernel 4 to output_padding 0.

    Input: [b, h, w, c]. Output: [b, 2*h, 2*w, filters].
    """

    def __init__(self, filters, kernel, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(filters, kernel, 2, padding='same', use_bias=use_bias, kernel_initializer=kernel_initializer)
        self.plain = False
        """If True, functions traced from now on pad by slicing, for converters that do not support explicit padding."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel, x.dtype)
        b, h, w, _ = sides(x)
        # oneDNN does not take explicit padding, and TensorFlow's own kernel is slow in half precision.
        slices = self.plain or (x.dtype.size == 2 and not tf.config.list_physical_devices('GPU'))
        if slices and self.kernel_size == (3, 3):
            y = tf.nn.conv2d_transpose(x, kernel, [b, 2 * h + 1, 2 * w + 1, self.filters], 2, 'VALID')[:, 1:, 1:]
        else:
            y = tf.nn.conv2d_transpose(x, kernel, [b, 2 * h, 2 * w, self.filters], 2, _PADDINGS[self.kernel_size[0]])
        return _add_bias(y, self.bias) if self.use_bias else y


def _add_bias(y: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """y + bias; the gradient of the bias is summed in float32 or a wider type.

    TensorFlow sums it in the dtype of y, and a sum in bfloat16 stops growing after 256 terms.
    """
    bias = tf.convert_to_tensor(bias)  # under mixed precision, in the dtype of y
    if full_precision(y) is y:
        return tf.nn.bias_add(y, bias)

    @tf.custom_gradient
    def add(y, bias):
        def gradients(upstream):
            return upstream, tf.cast(tf.reduce_sum(full_precision(upstream), [0, 1, 2]), bias.dtype)

        return tf.nn.bias_add(y, tf.cast(bias, y.dtype)), gradients

    return add(y, bias)

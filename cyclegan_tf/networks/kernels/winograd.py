"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering (Lavin and Gray 2016).

A tile of 4x4 results is computed from 6x6 pixels. Both the tile and the kernel are taken as polynomials and evaluated
at six points per axis, there the convolution is 36 products, and the result is interpolated from them. Over all tiles
and channels the products are 36 matrix products, which are what a processor does best.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import tensorflow as tf

from cyclegan_tf.networks.shapes import sides
from cyclegan_tf.ops.ordering import noinline_function

_CHANNELS, _PADDED_SIDE = 128, 24  # from which on it is faster on CPUs; measured
_TILE = 4  # results a side
_KERNEL = 3
_SIDE = _TILE + _KERNEL - 1  # of the pixels that a tile sees
# Where the polynomials are evaluated, besides infinity. Of the small ones these lose the least in float32: the error is
# 8e-7 of the results' standard deviation, 1.4e-6 for 0, 1, -1, 2, -2, and 2e-7 for a plain sum.
_POINTS = (0, 1, -1, Fraction(1, 2), -2)


def is_faster(x: tf.Tensor, filters: int) -> bool:
    """Whether this machine computes a convolution of x, [b, h, w, c] with padding, to so many channels faster so.

    In float32 on CPUs: on GPUs cuDNN chooses among algorithms by itself, and in half precision the transformed tiles
    lose too much. Sides that are not known are taken for large ones.
    """
    small = min(x.shape[3], filters) < _CHANNELS
    small = small or any(side is not None and side < _PADDED_SIDE for side in x.shape[1:3])
    return not small and x.dtype == tf.float32 and not tf.config.list_physical_devices('GPU')


def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d(x, kernel, 1, 'VALID') for 3x3 kernels, with its gradients.

    Args:
        x: float [b, h, w, c], h and w at least 3.
        kernel: [3, 3, c, filters].

    Returns:
        [b, h - 2, w - 2, filters].
    """

    @tf.custom_gradient
    def differentiable(x, kernel):
        def gradients(upstream):
            of_kernel = _kernel_gradient(x, upstream)
            # One after the other, since what is transformed is twice as large.
            with tf.control_dependencies([of_kernel]):
                upstream = tf.identity(upstream)
            # A "full" convolution with the kernel turned by 180 degrees and its channels exchanged.
            around = tf.pad(upstream, [[0, 0], [_KERNEL - 1] * 2, [_KERNEL - 1] * 2, [0, 0]])
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            return convolve(around, turned), of_kernel

        # Without the stops a tape would derive the function too.
        return _convolve(tf.stop_gradient(x), tf.stop_gradient(kernel)), gradients

    return differentiable(x, kernel)


@noinline_function
def _convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    _, evaluate_kernel, interpolate = _matrices(x.dtype.name)
    c, filters = kernel.shape[2:]
    b, height, width, rows, columns = _sizes(x)
    of_kernel = tf.reshape(tf.matmul(evaluate_kernel, tf.reshape(kernel, [_KERNEL**2, -1])), [_SIDE**2, c, filters])
    products = tf.matmul(_pixels_at_points(x), of_kernel)  # [36, tiles, filters]
    y = tf.matmul(interpolate, tf.reshape(products, [_SIDE**2, -1]))  # [16, tiles * filters]
    y = tf.transpose(tf.reshape(y, [_TILE, _TILE, b, rows, columns, filters]), [2, 3, 0, 4, 1, 5])
    y = tf.reshape(y, [b, rows * _TILE, columns * _TILE, filters])
    if not (isinstance(height, int) and isinstance(width, int) and height % _TILE == width % _TILE == 0):
        y = y[:, :height, :width]
    y.set_shape([*_less(x.shape[:3]), filters])
    return y


@noinline_function
def _kernel_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """[3, 3, c, filters], from the convolution's input and the gradient of its result.

    The transposed of each step, so that no other tiles are needed.
    """
    _, evaluate_kernel, interpolate = _matrices(x.dtype.name)
    filters = upstream.shape[3]
    b, height, width, rows, columns = _sizes(x)
    missing = [[0, 0], [0, rows * _TILE - height], [0, columns * _TILE - width], [0, 0]]
    upstream = tf.reshape(tf.pad(upstream, missing), [b, rows, _TILE, columns, _TILE, filters])
    upstream = tf.reshape(tf.transpose(upstream, [2, 4, 0, 1, 3, 5]), [_TILE**2, -1])
    upstream = tf.matmul(interpolate, upstream, transpose_a=True)  # [36, tiles * filters]
    upstream = tf.reshape(upstream, [_SIDE**2, -1, filters])
    products = tf.matmul(_pixels_at_points(x), upstream, transpose_a=True)  # [36, c, filters]
    gradient = tf.matmul(evaluate_kernel, tf.reshape(products, [_SIDE**2, -1]), transpose_a=True)
    return tf.reshape(gradient, [_KERNEL, _KERNEL, x.shape[3], filters])


def _pixels_at_points(x: tf.Tensor) -> tf.Tensor:
    """[b, h, w, c] -> [36, tiles, c]: each tile's 6x6 pixels as a polynomial, evaluated."""
    evaluate_pixels, _, _ = _matrices(x.dtype.name)
    c = x.shape[3]
    b, _, _, rows, columns = _sizes(x)
    height, width = sides(x)[1:3]
    # Beyond the last row stand copies of it, which only reach results that are cut off.
    pixel_rows = _minimum(_places(rows), height - 1)  # [6, rows]
    pixel_columns = _minimum(_places(columns), width - 1)
    images = _range(b) * (height * width)
    flat = (
        images[None, None, :, None, None]
        + (pixel_rows * width)[:, None, None, :, None]
        + pixel_columns[None, :, None, None, :]
    )  # [6, 6, b, rows, columns]
    pixels = tf.gather(tf.reshape(x, [-1, c]), tf.reshape(flat, [-1]))  # [36 * tiles, c]
    return tf.reshape(tf.matmul(evaluate_pixels, tf.reshape(pixels, [_SIDE**2, -1])), [_SIDE**2, -1, c])


# --------------------------------------------------------------------------------------------------------------- sizes
# Numbers are Python's where the shape is known, so that indices are constants then, and tensors elsewhere.
def _less(shape: Sequence) -> list:
    b, *rest = shape
    return [b, *(None if side is None else side - (_KERNEL - 1) for side in rest)]


def _sizes(x: tf.Tensor) -> tuple:
    """Images, height and width of the result, rows and columns of tiles."""
    b, height, width = _less(sides(x)[:3])
    return b, height, width, -(-height // _TILE), -(-width // _TILE)


def _places(tiles) -> np.ndarray:
    """[6, tiles]: the first pixel of each tile, the second, ..."""
    return _range(_SIDE)[:, None] + (_range(tiles) * _TILE)[None, :]


def _range(count):
    return np.arange(count, dtype=np.int32) if isinstance(count, int) else tf.range(count)


def _minimum(values, most):
    known = isinstance(values, np.ndarray) and isinstance(most, int)
    return (np if known else tf).minimum(values, most)


# ------------------------------------------------------------------------------------------------------------ matrices
@functools.cache
def _matrices(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What evaluates 6x6 pixels [36, 36], evaluates a kernel [36, 9], and interpolates a tile [16, 36].

    The Toom-Cook algorithm: the product of polynomials from its values at the points. Transposed, as a product with a
    polynomial is a linear map, it correlates instead.
    """
    points = [Fraction(point) for point in _POINTS]
    of_kernel, of_pixels, of_tile = [], [], [[point**i for point in points] for i in range(_TILE)]
    for place, point in enumerate(points):
        others = points[:place] + points[place + 1 :]
        scale = math.prod(point - other for other in others)
        of_kernel.append([point**i / scale for i in range(_KERNEL)])
        of_pixels.append([*_coefficients(others), Fraction(0)])
    # Infinity, where a polynomial is its leading coefficient.
    of_kernel.append([Fraction(int(i == _KERNEL - 1)) for i in range(_KERNEL)])
    of_pixels.append(_coefficients(points))
    for i, row in enumerate(of_tile):
        row.append(Fraction(int(i == _TILE - 1)))
    matrices = (np.array(rows, dtype=np.float64) for rows in (of_pixels, of_kernel, of_tile))
    return tuple(np.kron(matrix, matrix).astype(dtype) for matrix in matrices)


def _coefficients(roots: Sequence[Fraction]) -> list[Fraction]:
    """Of the polynomial with these roots and leading coefficient 1, from the constant one up."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        coefficients = [high - root * low for high, low in zip(shifted, scaled)]
    return coefficients

"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering (Lavin and Gray 2016).

A tile of 4x4 results is computed from 6x6 pixels. The pixels and the kernel are treated as polynomials and evaluated at
six points per axis. At these points the convolution takes 36 products, from which the results are interpolated. Over
all tiles and channels the products form 36 matrix products, which are what a processor does best.
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

_CHANNELS, _PADDED_SIDE = 128, 24  # from these on it is faster on CPUs, as measured
_TILE = 4  # results per side
_KERNEL = 3
_SIDE = _TILE + _KERNEL - 1  # pixels per side from which a tile is computed
# The points where the polynomials are evaluated, besides infinity. Of small numbers, these lose the least precision in
# float32. On a CPU with AVX2, by the method of test_it_loses_little_in_float32 in winograd_test.py, the error is 1.0e-6
# of the results' standard deviation. It would be 1.4e-6 with the points 0, 1, -1, 2, -2. That of a plain convolution is
# 0.2e-6, or 0.6e-6 with oneDNN.
_POINTS = (0, 1, -1, Fraction(1, 2), -2)


def is_faster(x: tf.Tensor, filters: int) -> bool:
    """Whether Winograd's algorithm is faster here for a convolution of x, padded, [b, h, w, c], to `filters` channels.

    Only in float32 on CPUs: on GPUs cuDNN chooses among algorithms by itself, and in half precision the transformed
    tiles lose too much precision. Unknown sides are assumed to be large.
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
            kernel_gradient = _kernel_gradient(x, upstream)
            # One gradient after the other, since the transformed tensors are twice as large as these.
            with tf.control_dependencies([kernel_gradient]):
                upstream = tf.identity(upstream)
            # A "full" convolution with the kernel rotated by 180 degrees and its channel axes swapped.
            padded = tf.pad(upstream, [[0, 0], [_KERNEL - 1] * 2, [_KERNEL - 1] * 2, [0, 0]])
            rotated = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
            return convolve(padded, rotated), kernel_gradient

        # Without stop_gradient, a tape would differentiate through the function as well.
        return _convolve(tf.stop_gradient(x), tf.stop_gradient(kernel)), gradients

    return differentiable(x, kernel)


@noinline_function
def _convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    _, evaluate_kernel, interpolate = _matrices(x.dtype.name)
    c, filters = kernel.shape[2:]
    b, height, width, rows, columns = _sizes(x)
    kernel_at_points = tf.matmul(evaluate_kernel, tf.reshape(kernel, [_KERNEL**2, -1]))  # [36, c * filters]
    kernel_at_points = tf.reshape(kernel_at_points, [_SIDE**2, c, filters])
    products = tf.matmul(_pixels_at_points(x), kernel_at_points)  # [36, tiles, filters]
    y = tf.matmul(interpolate, tf.reshape(products, [_SIDE**2, -1]))  # [16, tiles * filters]
    y = tf.transpose(tf.reshape(y, [_TILE, _TILE, b, rows, columns, filters]), [2, 3, 0, 4, 1, 5])
    y = tf.reshape(y, [b, rows * _TILE, columns * _TILE, filters])
    if not (isinstance(height, int) and isinstance(width, int) and height % _TILE == width % _TILE == 0):
        y = y[:, :height, :width]
    y.set_shape([*_result_shape(x.shape[:3]), filters])
    return y


@noinline_function
def _kernel_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """The gradient of the kernel, [3, 3, c, filters], from the convolution's input and the gradient of its result.

    It applies the transpose of each step of the convolution, and so needs no other tiles.
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
    """[b, h, w, c] -> [36, tiles, c]: each tile's 6x6 pixels, evaluated as a polynomial at the points."""
    evaluate_pixels, _, _ = _matrices(x.dtype.name)
    c = x.shape[3]
    b, _, _, rows, columns = _sizes(x)
    height, width = sides(x)[1:3]
    # Beyond the last row and column, these are repeated; the copies affect only results that are cut off.
    pixel_rows = _minimum(_pixel_indices(rows), height - 1)  # [6, rows]
    pixel_columns = _minimum(_pixel_indices(columns), width - 1)
    images = _range(b) * (height * width)
    flat = (
        images[None, None, :, None, None]
        + (pixel_rows * width)[:, None, None, :, None]
        + pixel_columns[None, :, None, None, :]
    )  # [6, 6, b, rows, columns]
    pixels = tf.gather(tf.reshape(x, [-1, c]), tf.reshape(flat, [-1]))  # [36 * tiles, c]
    return tf.reshape(tf.matmul(evaluate_pixels, tf.reshape(pixels, [_SIDE**2, -1])), [_SIDE**2, -1, c])


# --------------------------------------------------------------------------------------------------------------- sizes
# Sizes are Python numbers where the shape is known, so that indices computed from them are constants; else tensors.
def _result_shape(shape: Sequence) -> list:
    b, *rest = shape
    return [b, *(None if side is None else side - (_KERNEL - 1) for side in rest)]


def _sizes(x: tf.Tensor) -> tuple:
    """Number of images, height and width of the result, rows and columns of tiles."""
    b, height, width = _result_shape(sides(x)[:3])
    return b, height, width, -(-height // _TILE), -(-width // _TILE)


def _pixel_indices(tiles) -> np.ndarray:
    """[6, tiles]: index of the first pixel of each tile, of the second, ..."""
    return _range(_SIDE)[:, None] + (_range(tiles) * _TILE)[None, :]


def _range(count):
    return np.arange(count, dtype=np.int32) if isinstance(count, int) else tf.range(count)


def _minimum(values, limit):
    known = isinstance(values, np.ndarray) and isinstance(limit, int)
    return (np if known else tf).minimum(values, limit)


# ------------------------------------------------------------------------------------------------------------ matrices
@functools.cache
def _matrices(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices that evaluate 6x6 pixels, [36, 36], evaluate a kernel, [36, 9], and interpolate a tile, [16, 36].

    The Toom-Cook algorithm computes the product of polynomials from its values at the points. Multiplication by a fixed
    polynomial is a linear map; these matrices compute its transpose, which is a correlation.
    """
    points = [Fraction(point) for point in _POINTS]
    kernel_rows, point_rows, tile_rows = [], [], [[point**i for point in points] for i in range(_TILE)]
    for index, point in enumerate(points):
        others = points[:index] + points[index + 1 :]
        scale = math.prod(point - other for other in others)
        kernel_rows.append([point**i / scale for i in range(_KERNEL)])
        point_rows.append([*_coefficients(others), Fraction(0)])
    # At infinity, the value of a polynomial is its leading coefficient.
    kernel_rows.append([Fraction(int(i == _KERNEL - 1)) for i in range(_KERNEL)])
    point_rows.append(_coefficients(points))
    for i, row in enumerate(tile_rows):
        row.append(Fraction(int(i == _TILE - 1)))
    matrices = (np.array(rows, dtype=np.float64) for rows in (point_rows, kernel_rows, tile_rows))
    return tuple(np.kron(matrix, matrix).astype(dtype) for matrix in matrices)


def _coefficients(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the polynomial with these roots and leading coefficient 1, from the constant term upwards."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        coefficients = [high - root * low for high, low in zip(shifted, scaled)]
    return coefficients

"""Doubling the sides by forward convolutions is TensorFlow's transposed convolution, padded as PyTorch pads it."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks.kernels import doubling_convolution
from tests.helpers.derivatives import with_gradients


def transposed(x, kernel):
    """Without padding one row and column more than twice as many; padding 1 with output_padding 1 cuts the first."""
    b, h, w, _ = tf.unstack(tf.shape(x))
    return tf.nn.conv2d_transpose(x, kernel, [b, 2 * h + 1, 2 * w + 1, kernel.shape[2]], 2, 'VALID')[:, 1:, 1:]


@pytest.mark.parametrize('shape, filters', [((2, 6, 9, 4), 3), ((1, 1, 1, 2), 5), ((3, 5, 2, 1), 1)])
def test_it_doubles_as_tensorflow_does(shape, filters):
    draws = np.random.default_rng(0)
    x, kernel = (tf.constant(draws.normal(size=size)) for size in (shape, (3, 3, filters, shape[3])))
    any_size = [tf.TensorSpec([None, None, None, shape[3]], x.dtype), tf.TensorSpec(kernel.shape, x.dtype)]
    expected = with_gradients(transposed, x, kernel)
    b, h, w, _ = shape
    for signature in (None, any_size):
        results = with_gradients(doubling_convolution.convolve, x, kernel, signature)
        assert results[0].shape == (b, 2 * h, 2 * w, filters)
        for result, right in zip(results, expected):
            np.testing.assert_allclose(result, right, rtol=0, atol=1e-12 * np.abs(right).max())

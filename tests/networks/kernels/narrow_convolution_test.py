"""A convolution that computes four columns at a time is TensorFlow's, with its gradients."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks.kernels import narrow_convolution
from tests.helpers.derivatives import with_gradients


# Images down to four results, which are computed at once; channels in and out.
@pytest.mark.parametrize('shape, side, filters', [((2, 15, 18, 4), 7, 3), ((1, 9, 10, 2), 7, 1), ((3, 3, 6, 1), 3, 5)])
def test_it_convolves_as_tensorflow_does(shape, side, filters):
    draws = np.random.default_rng(0)
    x, kernel = (tf.constant(draws.normal(size=size)) for size in (shape, (side, side, shape[3], filters)))
    any_size = [tf.TensorSpec([None, None, None, shape[3]], x.dtype), tf.TensorSpec(kernel.shape, x.dtype)]
    expected = with_gradients(lambda x, kernel: tf.nn.conv2d(x, kernel, 1, 'VALID'), x, kernel)
    for signature in (None, any_size):
        for result, right in zip(with_gradients(narrow_convolution.convolve, x, kernel, signature), expected):
            assert result.shape == right.shape
            np.testing.assert_allclose(result, right, rtol=0, atol=1e-12 * np.abs(right).max())

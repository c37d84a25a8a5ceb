"""One kernel normalises images as they would be one by one, however many there are."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks.kernels.instance_norm import normalise_images


# Up to four images are split, more are transposed; so are those whose number is not known.
@pytest.mark.parametrize('images', [1, 2, 4, 5])
@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('epsilon', [1e-5, 0.5])
def test_each_image_is_normalised_by_itself(photographs, images, known, epsilon):
    x = np.tile(photographs(2, 24, 20), (3, 1, 1, 1))[:images] * np.arange(1, images + 1)[:, None, None, None]
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + epsilon)
    shape = [images if known else None, None, None, 3]
    function = tf.function(lambda x: normalise_images(x, epsilon), [tf.TensorSpec(shape)], autograph=False)
    result = function(tf.constant(x, tf.float32))
    assert result.shape == x.shape and function.get_concrete_function().output_shapes.as_list() == shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=5e-5 * np.abs(expected).max())

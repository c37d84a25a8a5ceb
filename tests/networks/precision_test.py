"""In half precision networks stay close to themselves in full precision."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_discriminator, make_generator, precision
from cyclegan_tf.settings import fields


@pytest.mark.parametrize('precision, share', [('bfloat16', 0.03), ('float16', 0.004)])
@pytest.mark.parametrize('norm', ['instance', 'batch', 'none'])
@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128', 'basic', 'pixel'])
def test_half_precision_keeps_weights_and_results_in_float32_and_stays_close(photographs, name, norm, precision, share):
    make = make_discriminator if name in ('basic', 'pixel') else make_generator
    full, half = (make(name, filters=8, norm=norm, seed=1, init_gain=0.1, precision=p) for p in ('float32', precision))
    x = tf.constant(photographs(2, 128, 128), tf.float32)
    expected, result = full(x, training=True), half(x, training=True)
    assert result.dtype == tf.float32 and {v.dtype for v in half.variables} == {tf.float32}
    for one, other in zip(full.trainable_variables, half.trainable_variables):
        np.testing.assert_array_equal(one, other)
    difference = np.abs(result - expected)
    # Not the same: it has been computed in fewer bits; and not far off either.
    assert 0 < difference.mean() < share * np.std(expected)
    assert tf.keras.mixed_precision.global_policy().name == 'float32'


def test_an_unknown_precision_is_named():
    with pytest.raises(UserError, match="precision 'float8' is not one of: float32, bfloat16, float16"):
        make_generator('resnet_6blocks', filters=4, precision='float8')


def test_what_the_flags_offer_is_what_networks_take():
    assert fields.PRECISIONS == precision.PRECISIONS

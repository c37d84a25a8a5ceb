"""First weights are drawn as the reference's."""

import numpy as np
import pytest

from cyclegan_tf.networks import make_generator


@pytest.mark.parametrize(
    'init_type, deviation',
    [
        ('normal', 0.1),
        ('xavier', 0.1 * np.sqrt(2 / (2 * 9 * 256))),
        ('kaiming', np.sqrt(2 / (9 * 256))),
        ('orthogonal', 0.1 / np.sqrt(9 * 256)),
    ],
)
def test_kernels_are_drawn_as_the_reference_draws_them(init_type, deviation):
    model = make_generator('resnet_6blocks', filters=64, init_type=init_type, init_gain=0.1, seed=0)
    kernel = model.blocks[0].conv_1.kernel.numpy()
    assert kernel.mean() == pytest.approx(0, abs=deviation / 100)
    assert kernel.std() == pytest.approx(deviation, rel=0.01)
    if init_type != 'orthogonal':  # not cut at two deviations, as Keras's are by default
        assert np.abs(kernel).max() > 4 * kernel.std()
    assert np.all(model.blocks[0].conv_1.bias.numpy() == 0)


def test_batch_norm_scales_are_drawn_around_one():
    model = make_generator('resnet_6blocks', filters=64, norm='batch', init_gain=0.02, seed=0)
    scales = np.concatenate([block.norm_1.scale.numpy() for block in model.blocks])
    assert scales.mean() == pytest.approx(1, abs=0.005) and scales.std() == pytest.approx(0.02, rel=0.1)


def test_a_seed_fixes_the_weights_and_differs_between_layers():
    one, same, other = (make_generator('resnet_6blocks', filters=4, seed=s) for s in (1, 1, 2))
    for a, b, c in zip(one.variables, same.variables, other.variables):
        np.testing.assert_array_equal(a, b)
        assert len(a.shape) == 1 or not np.array_equal(a, c)
    assert not np.array_equal(one.blocks[0].conv_1.kernel, one.blocks[1].conv_1.kernel)

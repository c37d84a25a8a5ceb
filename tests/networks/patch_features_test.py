"""CUT's F: positions, vectors, initial weights; parity_test.py compares with PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_patch_features
from cyclegan_tf.networks.patch_features import choose_positions, to_unit_length
from cyclegan_tf.ops.random import integers

SEED = tf.constant([3, 8])


def test_positions_are_the_first_of_a_permutation():
    chosen = choose_positions(SEED, 1000, 40).numpy()
    everything = choose_positions(SEED, 1000, 2000).numpy()
    assert len(set(chosen)) == 40 and sorted(everything) == list(range(1000))
    np.testing.assert_array_equal(chosen, everything[:40])
    # Of equal numbers the order stays.
    np.testing.assert_array_equal(everything, np.argsort(integers([1000], SEED).numpy(), kind='stable'))
    assert not np.array_equal(chosen, choose_positions(tf.constant([3, 9]), 1000, 40))


@pytest.mark.own_process
def test_positions_of_a_map_of_cut_are_the_same_compiled_by_xla():
    total = 262 * 262  # the padded image
    plain, compiled = (
        tf.function(lambda: choose_positions(SEED, total, total), jit_compile=on)() for on in (False, True)
    )
    np.testing.assert_array_equal(plain, compiled)


def test_vectors_are_those_of_the_positions_of_length_one():
    maps = [tf.random.stateless_normal([2, 3, 5, 4], [0, 1]), tf.random.stateless_normal([2, 6, 2, 7], [0, 2])]
    positions = [tf.constant([14, 0, 7]), tf.constant([3, 11])]
    f = make_patch_features('sample', [4, 7])
    found = f(maps, positions)
    assert [x.shape for x in found] == [(2, 3, 4), (2, 2, 7)] and not f.variables
    expected = maps[0].numpy()[1, 1, 2]  # position 7 of rows of five
    np.testing.assert_allclose(found[0][1, 2], expected / np.linalg.norm(expected), rtol=1e-5)
    with_mlp = make_patch_features('mlp_sample', [4, 7], units=6, seed=1)(maps, positions)
    assert [x.shape for x in with_mlp] == [(2, 3, 6), (2, 2, 6)]
    np.testing.assert_allclose(np.linalg.norm(with_mlp[1], axis=-1), 1, atol=1e-3)


def test_initial_weights_are_glorots_times_the_gain():
    f = make_patch_features('mlp_sample', [300, 500], units=400, init_gain=0.1, seed=2)
    for layer, fan_in in zip((*f.firsts, *f.seconds), (300, 500, 400, 400)):
        expected = 0.1 * np.sqrt(2 / (fan_in + 400))
        assert np.std(layer.kernel) == pytest.approx(expected, rel=0.02) and not np.any(layer.bias)
    again = make_patch_features('mlp_sample', [300, 500], units=400, init_gain=0.1, seed=2)
    np.testing.assert_array_equal(f.seconds[1].kernel, again.seconds[1].kernel)
    assert not np.array_equal(f.firsts[0].kernel[:, :300], f.seconds[0].kernel[:300])


def test_a_vector_of_zeros_has_a_gradient():
    x = tf.constant([[0.0, 0.0], [3.0, 4.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = to_unit_length(x)
        value = tf.reduce_sum(y[:, 0])
    np.testing.assert_allclose(y, [[0, 0], [0.6, 0.8]], atol=1e-6)
    assert np.all(np.isfinite(tape.gradient(value, x)))


def test_half_precision_is_computed_in_full():
    maps = [tf.cast(tf.random.stateless_normal([1, 4, 4, 5], [1, 1]), tf.bfloat16)]
    found = make_patch_features('mlp_sample', [5], units=16, init_gain=1.0)(maps, [tf.range(16)])[0]
    assert found.dtype == tf.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="patch features 'reshape' is not one of: mlp_sample, sample"):
        make_patch_features('reshape', [3])

"""Random integers, beside tf.random's without XLA."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.ops import random

SEEDS = np.random.default_rng(1).integers(-(2**63), 2**63, [20, 2])


@pytest.mark.parametrize('jit_compile', [False, True])
@pytest.mark.parametrize('dtype', [tf.int32, tf.int64])
def test_they_are_tensorflows_with_and_without_xla(dtype, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def draw(seed):
        whole = tf.cast(seed, tf.int32)
        images, crops = random.integers([3, 2], seed, 1000), random.integers([5], seed)
        return images, crops, random.fold(seed, 7), random.split(whole, 4)

    for seed in (tf.cast(tf.constant(seed), dtype) for seed in SEEDS):
        of_seed = (
            tf.random.stateless_uniform([3, 2], seed, 0, 1000, tf.int32),
            tf.random.stateless_uniform([5], seed, None, None, tf.int32),
        )
        folded = tf.random.experimental.stateless_fold_in(seed, tf.constant(7))
        parts = tf.random.experimental.stateless_split(tf.cast(seed, tf.int32), 4)
        for ours, theirs in zip(draw(seed), [*of_seed, folded, parts]):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_seeds_and_numbers_make_a_difference():
    seed = tf.constant([1, 2])
    folded = {tuple(random.fold(seed, number).numpy()) for number in range(50)}
    assert len(folded) == 50
    assert len({int(random.integers([], random.fold(seed, number))) for number in range(50)}) == 50
    values = random.integers([10_000], seed, 3).numpy()
    assert np.bincount(values) == pytest.approx([3333] * 3, rel=0.1)

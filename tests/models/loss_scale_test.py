"""The scale of the losses: when it halves and doubles, and what a skipped step leaves as it was."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.models.adam import Adam
from cyclegan_tf.models.loss_scale import LossScale


def update(scale, *values):
    """Of one step with gradients of these values."""
    return bool(tf.function(scale.update)([tf.constant([value, 1.0]) for value in values]))


def test_the_scale_doubles_after_so_many_good_steps_in_a_row():
    scale = LossScale(True, growth_steps=3)
    seen = []
    for value in (1, 1, 1, 1, 1, np.inf, 1, 1, 1):
        update(scale, 1.0, value)
        seen.append(int(np.log2(scale.scale.numpy())))
    assert seen == [15, 15, 16, 16, 16, 15, 15, 15, 16]


@pytest.mark.parametrize('bad', [np.inf, -np.inf, np.nan])
def test_the_scale_halves_down_to_one_where_a_gradient_is_not_finite(bad):
    scale = LossScale(True, initial=4.0)
    seen = []
    for _ in range(4):
        assert bool(scale.can_shrink()) == (scale.scale.numpy() > 1)
        assert not update(scale, 1.0, bad)
        seen.append(float(scale.scale.numpy()))
    assert seen == [2, 1, 1, 1]


def test_scaling_and_dividing_is_exact_and_left_out_where_it_is_not_used():
    for used in (True, False):
        scale, loss = LossScale(used), tf.constant(np.pi, tf.float32)
        assert float(scale.scaled(loss) / loss) == (2.0**15 if used else 1.0)
        assert float(scale.unscaled([scale.scaled(loss)])[0]) == float(loss)


@pytest.mark.own_process
def test_replicas_agree_on_skipping_and_a_skipped_step_leaves_adam_as_it_was():
    strategy = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])
    with strategy.scope():
        variable, optimizer, scale = tf.Variable([1.0, 2.0]), Adam(0.1, jit_compile=False), LossScale(True)
        optimizer.build([variable])

    @tf.function
    def step(overflows):
        def of_replica():
            replica = tf.distribute.get_replica_context()
            # One replica's alone is not finite.
            bad = overflows & (replica.replica_id_in_sync_group == 1)
            gradient = tf.where(bad, np.inf, 1.0) * tf.constant([1.0, -3.0])
            gradients = scale.unscaled(replica.all_reduce(tf.distribute.ReduceOp.SUM, [scale.scaled(gradient)]))
            optimizer.apply(gradients, [variable], scale.update(gradients))

        strategy.run(of_replica)

    def state():
        mirrored = [variable, *optimizer.variables, scale.scale, scale.good_steps]
        copies = [[copy.numpy() for copy in strategy.experimental_local_results(one)] for one in mirrored]
        for one, other in copies:
            np.testing.assert_array_equal(one, other)
        return [one for one, _ in copies]

    alone, reference = Adam(0.1, jit_compile=False), tf.Variable([1.0, 2.0])
    for overflows in (False, True, False):
        before = state()
        step(tf.constant(overflows))
        if overflows:
            for old, new in zip(before[:-2], state()):
                np.testing.assert_array_equal(old, new)
        else:
            alone.apply_gradients([(tf.constant([2.0, -6.0]), reference)])
    np.testing.assert_array_equal(state()[0], reference)
    assert optimizer.iterations.numpy() == 2 and scale.scale.numpy() == 2**14 and scale.good_steps.numpy() == 1

"""Learning rate factors by epoch."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.models import schedules


def test_linear_holds_then_falls_in_equal_steps_and_never_trains_at_zero():
    factors = [schedules.linear(epoch, 100, 100) for epoch in range(1, 201)]
    assert factors[:100] == [1.0] * 100
    np.testing.assert_allclose(np.diff(factors[99:]), -1 / 101)
    assert factors[-1] == pytest.approx(1 / 101)


def test_step_is_a_tenth_after_every_fifty_epochs():
    assert [schedules.step(e, 50) for e in (1, 50, 51, 100, 101)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_falls_to_zero_and_stays():
    factors = [schedules.cosine(epoch, 100) for epoch in (1, 51, 101, 150, 200)]
    assert factors == pytest.approx([1, 0.5, 0, 0, 0])


def test_plateau_falls_at_the_sixth_epoch_in_a_row_without_a_gain_of_one_percent():
    plateau, factors = schedules.Plateau(), []
    for loss in [10.0, 9.0, *[8.95] * 5, 8.0, *[8.0] * 6, 8.0]:
        plateau.update(loss)
        factors.append(float(plateau.factor))
    assert factors == pytest.approx([1.0] * 13 + [0.2] * 2)


def test_plateau_goes_on_from_a_checkpoint(tmp_path):
    plateau = schedules.Plateau()
    for loss in [10.0] * 6:
        plateau.update(loss)
    path = tf.train.Checkpoint(plateau=plateau).save(str(tmp_path / 'p'))
    fresh = schedules.Plateau()
    tf.train.Checkpoint(plateau=fresh).restore(path).assert_consumed()
    fresh.update(10.0)
    assert float(fresh.factor) == pytest.approx(0.2)

"""The points of curves in memory: thinned, the same however often a run was begun, and only of what is drawn."""

import numpy as np
import pytest

from cyclegan_tf.runs.curves import Curve, Curves
from cyclegan_tf.runs.summaries import Summaries


def test_a_long_curve_has_a_few_hundred_means_of_all_its_points():
    curve, values = Curve(), np.random.default_rng(0).normal(size=12345)
    for step, value in enumerate(values, 1):
        curve.add(10 * step, value)
    points = curve.points()
    assert 200 <= len(points) <= 400 and curve.last == values[-1]
    steps, means = zip(*points)
    assert list(steps) == sorted(set(steps)) and steps[-1] == 123450
    begin = 0
    for step, mean in points:  # each is the mean of what came since the one before
        assert mean == pytest.approx(np.mean(values[begin : step // 10]))
        begin = step // 10


def test_what_is_not_finite_is_only_the_newest_value():
    curve = Curve()
    for step, value in enumerate((1.0, float('nan'), float('inf'), 2.0)):
        curve.add(step, value)
    assert curve.points() == [(0, 1.0), (3, 2.0)] and curve.last == 2.0
    curve.add(4, float('inf'))
    assert curve.points() == [(0, 1.0), (3, 2.0)] and curve.last == float('inf')


def test_only_losses_and_measures_are_kept():
    curves = Curves()
    curves.add({'loss/G_A': 1.0, 'speed/images_per_second': 3.0, 'eval/kid_AtoB': 0.1, 'epoch': 1}, 5)
    assert list(curves) == ['loss/G_A', 'eval/kid_AtoB']


@pytest.mark.parametrize('back', [500, 801])
def test_a_run_that_goes_back_or_begins_again_has_the_curve_of_one_that_did_not(tmp_path, back):
    def write(summaries, begin, end):
        for step in range(begin, end):
            summaries.scalars({'loss/G': 1 / step, 'speed/step_seconds': 0.1}, step)
        summaries.flush()

    straight = Curves()
    for step in range(1, 1000):
        straight.add({'loss/G': float(np.float32(1 / step))}, step)
    summaries = Summaries(tmp_path)
    write(summaries, 1, 900)
    summaries.go_back(back)
    steps = [step for step, _ in summaries.curves['loss/G'].points()]
    assert steps == sorted(set(steps)) and steps[-1] == back
    write(summaries, back + 1, 950)
    # Another process, from a checkpoint before the end.
    summaries = Summaries(tmp_path, step=back + 20)
    write(summaries, back + 21, 1000)
    found, expected = (curves['loss/G'].points() for curves in (summaries.curves, straight))
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)

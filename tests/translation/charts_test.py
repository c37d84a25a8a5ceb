"""Curves as a picture: where points, ticks and numbers are."""

import re

import pytest

from cyclegan_tf.translation import charts
from cyclegan_tf.translation.charts import Chart

INNER = (charts.LEFT, charts.WIDTH - charts.RIGHT, charts.TOP, charts.HEIGHT - charts.BOTTOM)


def corners(line):
    return [tuple(map(float, corner.split(','))) for corner in line.path.split()]


def test_points_are_where_the_ticks_say():
    chart = Chart('G', {'G_A': [(100, 0.2), (200, 0.4), (400, 0.8)], 'D_A': [(100, 0.6)]})
    first, second = (corners(line) for line in chart.lines)
    assert first[0][0] == INNER[0] and first[2][0] == INNER[1] and second[0][0] == INNER[0]
    assert INNER[2] < first[2][1] < second[0][1] < first[1][1] < first[0][1] < INNER[3]  # y points down
    at = {text: float(y) for y, text in chart.rows}
    assert at['0.2'] == first[0][1] and at['0.4'] == first[1][1] and at['0.8'] == first[2][1]
    assert {text: float(x) for x, text in chart.columns}['200'] == first[1][0]
    assert chart.lines[0].summary == 'G_A at step 100: 0.2; G_A at step 400: 0.8'
    assert [text for _, _, text in chart.lines[1].dots] == ['D_A at step 100: 0.6']


@pytest.mark.parametrize(
    'points',
    [
        [(1, 0.0)], [(5, 3.0), (10, 3.0)], [(1, -1e-7), (2, 1e-7)], [(1, 1e9), (10**7, -1e9)], [(1, 5.0), (3, 5.0001)],
        [(7, 1e-300)], [(1, 0.1), (2, 0.35)], [(100, 25.0), (2000, 31.0)],
    ],
)  # fmt: skip
def test_there_are_a_few_ticks_that_can_be_told_apart_whatever_the_values(points):
    chart = Chart('any', {'x': points})
    for ticks, ends in ((chart.rows, INNER[2:]), (chart.columns, INNER[:2])):
        assert 1 <= len(ticks) <= 5 and len({text for _, text in ticks}) == len(ticks), ticks
        assert all(ends[0] <= float(place) <= ends[1] for place, _ in ticks)
        assert all(len(text) <= 10 for _, text in ticks), ticks
    assert all(re.fullmatch(r'[\d,]+', text) for _, text in chart.columns)  # steps are whole
    assert all(INNER[0] <= x <= INNER[1] and INNER[2] <= y <= INNER[3] for x, y in corners(chart.lines[0]))


def test_long_curves_have_no_dots_and_the_newest_value_may_differ_from_the_last_mean():
    (line,) = Chart('long', {'x': [(step, step / 2) for step in range(100)]}, {'x': 7.0}).lines
    assert line.dots == [] and line.value == '7'

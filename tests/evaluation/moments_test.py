"""Mean and covariance from sums of parts, in any grouping, are those of all rows."""

import io
import itertools

import numpy as np
import pytest

from cyclegan_tf.evaluation import metrics
from cyclegan_tf.evaluation.moments import Moments, load, save, total


def as_a_chain(parts):
    return total(parts)


def from_the_end(parts):
    *others, one = parts
    while others:
        one = others.pop() + one
    return one


def as_a_tree(parts):
    while len(parts) > 1:
        parts = [total(parts[start : start + 2]) for start in range(0, len(parts), 2)]
    return parts[0]


@pytest.mark.parametrize('combine', [as_a_chain, from_the_end, as_a_tree])
@pytest.mark.parametrize('sizes', [(57,), (20, 37), (0, 1, 3, 0, 19, 1, 33), (1,) * 57, (56, 1, 0)])
def test_sums_of_parts_are_those_of_all_rows(combine, sizes):
    random = np.random.default_rng(0)
    # Far from zero, where squares without the mean taken off would cancel; and the parts differ.
    rows = 100 + random.normal(size=(57, 5)) @ random.normal(size=(5, 5)) + np.linspace(0, 9, 57)[:, None]
    ends = np.cumsum(sizes)
    parts = [Moments.of(rows[end - size : end]) for end, size in zip(ends, sizes)]
    found = combine(parts)
    assert found.count == 57
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
    root = found.root_of_covariance
    np.testing.assert_allclose(root.T @ root, np.cov(rows, rowvar=False), rtol=1e-12, atol=1e-12)
    assert root.shape == (5, 5)


def test_the_distance_of_equal_sets_does_not_drown():
    """Neither with fewer rows than dimensions, where the root of a covariance is off by the root of what is rounded."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(30, 64))
    orders = [rows, rows[random.permutation(30)]]
    both = [total(Moments.of(some) for some in np.split(of_order, [7, 8, 20])) for of_order in orders]
    assert all(len(one.root) <= 64 for one in both)
    parts = [part for one in both for part in (one.mean, one.root_of_covariance)]
    assert metrics.frechet_of_roots(*parts) == pytest.approx(0, abs=1e-11)
    other = rows + random.normal(size=rows.shape) / 10
    far = [*parts[:2], Moments.of(other).mean, Moments.of(other).root_of_covariance]
    assert metrics.frechet_of_roots(*far) == pytest.approx(metrics.fid(rows, other), rel=1e-12)


def test_a_file_holds_them():
    for count, width in itertools.product((0, 2, 9), (3, 5)):
        written, file = Moments.of(np.random.default_rng(0).normal(size=(count, width))), io.BytesIO()
        save(file, written)
        file.seek(0)
        read = load(file)
        assert read.count == count
        np.testing.assert_array_equal(read.mean, written.mean)
        np.testing.assert_array_equal(read.root, written.root)

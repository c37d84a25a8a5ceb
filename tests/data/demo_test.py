"""The demo's data set: what its domains share, and what it needs."""

import sys

import numpy as np
import pytest

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError


def test_demo_is_unpaired_and_its_test_regions_are_pairs_that_training_never_shows():
    train_a, train_b, test_a, test_b = (demo.regions(p, d) for p in ('train', 'test') for d in 'AB')
    assert not set(train_a) & set(train_b)
    assert list(test_a) == list(test_b)
    for name in test_a:
        np.testing.assert_array_equal(demo.day_for_night(test_a[name]), test_b[name])
    # By content, not by name: no training region of either domain is a part of a test region.
    for train, test in ((train_a, test_a), (train_b, test_b)):
        held_out = np.concatenate([t.reshape(-1, demo.HELD_OUT, 3) for t in test.values()])
        rows = {row[i : i + demo.TILE].tobytes() for row in held_out for i in range(0, demo.HELD_OUT, demo.TILE)}
        for tile in train.values():
            if tile.std() > 10:  # a plain sky may well be alike
                assert tile[demo.TILE // 2].tobytes() not in rows


def test_demo_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage', None)
    demo.regions.cache_clear()
    with pytest.raises(UserError, match="extra 'demo'"):
        demo.regions('train', 'A')

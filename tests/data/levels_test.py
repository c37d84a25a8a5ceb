"""Levels of 8 and 16 bits and ranges of values, to floats and back."""

import numpy as np
import pytest

from cyclegan_tf.data.levels import float_to_values, holds, to_float, to_uint8, values_to_float


def test_levels_to_float_and_back_is_exact():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(to_float(levels)), levels)
    assert to_float(levels)[[0, -1]].tolist() == [-1, 1]
    assert to_uint8(np.array([-1.5, 1.5])).tolist() == [0, 255]
    wide = to_float(np.arange(65536, dtype=np.uint16))
    assert wide.dtype == np.float32 and wide[[0, -1]].tolist() == [-1, 1] and len(np.unique(wide)) == 65536
    np.testing.assert_allclose(to_float(levels.astype(np.uint16) * 257), to_float(levels), atol=1e-7)


@pytest.mark.parametrize('dtype', [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_a_range_of_values_to_floats_and_back(dtype):
    values = np.linspace(0, 3071, 500).astype(dtype)
    floats = values_to_float(values, (0.0, 3071.0))
    assert floats.dtype == np.float32 and floats[[0, -1]].tolist() == [-1, 1]
    back = float_to_values(floats, (0.0, 3071.0), dtype)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, values, atol=1e-3 if np.dtype(dtype).kind == 'f' else 0)


def test_values_beyond_the_range_are_clipped_and_negative_ones_are_none_of_the_highest():
    ct = np.array([-2000, -1024, 1023, 3071, 4000], np.int16)
    np.testing.assert_allclose(values_to_float(ct, (-1024.0, 3071.0)), [-1, -1, -0.00024, 1, 1], atol=1e-4)
    assert float_to_values(np.array([-2.0, 2.0]), (-1024.0, 3071.0), np.int16).tolist() == [-1024, 3071]


def test_which_types_hold_a_range():
    for dtype, value_range, expected in (
        (np.int16, (-1024.0, 3071.0), True), (np.uint16, (-1024.0, 3071.0), False), (np.uint8, (0.0, 255.0), True),
        (np.int16, (0.0, 2.0), False), (np.float16, (0.0, 2.0), True), (np.float16, (0.0, 1e5), False),
        (bool, (0.0, 1.0), False),
    ):  # fmt: skip
        assert holds(dtype, value_range) == expected


def test_the_full_range_of_levels_is_that_without_a_range():
    for dtype, low, high in ((np.uint8, 0.0, 255.0), (np.uint16, 0.0, 65535.0)):
        levels = np.arange(high + 1).astype(dtype)
        np.testing.assert_array_equal(values_to_float(levels, (low, high)), to_float(levels))
    floats = np.float32([0.25])
    assert to_float(floats) is floats

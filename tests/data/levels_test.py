"""Levels to floats and back, in 8 and 16 bits."""

import numpy as np

from cyclegan_tf.data.levels import to_float, to_uint8


def test_levels_to_float_and_back_is_exact():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(to_float(levels)), levels)
    assert to_float(levels)[[0, -1]].tolist() == [-1, 1]
    assert to_uint8(np.array([-1.5, 1.5])).tolist() == [0, 255]
    wide = to_float(np.arange(65536, dtype=np.uint16))
    assert wide.dtype == np.float32 and wide[[0, -1]].tolist() == [-1, 1] and len(np.unique(wide)) == 65536
    np.testing.assert_allclose(to_float(levels.astype(np.uint16) * 257), to_float(levels), atol=1e-7)

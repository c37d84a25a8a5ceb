"""Rows of pictures for TensorBoard, of any number of channels."""

import numpy as np
import pytest

from cyclegan_tf.runs.summaries import sheet


@pytest.mark.parametrize(
    'channels, shown', [(1, (0, 0, 0)), (2, (0, 0, 0)), (3, (0, 1, 2)), (4, (0, 1, 2)), (6, (0, 1, 2))]
)
def test_pictures_of_any_number_of_channels_are_shown_as_colours(channels, shown):
    levels = np.linspace(-1, 1, channels + 2)[1:-1]  # one for each channel
    picture = np.broadcast_to(levels, (128, 128, channels)).astype(np.float32)
    result = sheet({'real_A': [picture], 'fake_B': [picture]})
    assert result.shape == (16 + 128, 2 * 128 + 4, 3)
    expected = np.round((levels[list(shown)] + 1) * 127.5)
    np.testing.assert_allclose(result[16:, :128], np.broadcast_to(expected, (128, 128, 3)), atol=1)

"""Gray, colour, alpha: in 8 and 16 bits as Pillow has them, in floats and in TensorFlow's operations the same."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import channels


def test_channels_of_sixteen_bits_follow_pillow(photograph):
    wide = photograph.astype(np.uint16) * 257
    gray = channels.set_channels(wide, 1)[..., 0]
    expected = np.asarray(Image.fromarray(photograph).convert('L'))
    assert np.abs(gray / 257 - expected).max() <= 0.51
    assert (channels.set_channels(wide, 4)[..., 3] == 65535).all()
    np.testing.assert_array_equal(channels.set_channels(channels.set_channels(wide, 4), 3), wide)


def test_luminance_is_said_once_and_its_integers_are_pillows():
    assert channels._LUMINANCE_OF_LEVELS == (19595, 38470, 7471)  # Pillow, src/libImaging/Convert.c, L24
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    gray = channels.set_channels(levels, 1)[..., 0]
    np.testing.assert_array_equal(gray, np.asarray(Image.fromarray(levels).convert('L')))


@pytest.mark.parametrize('wanted', [1, 3, 4])
@pytest.mark.parametrize('found', [1, 2, 3, 4])
@pytest.mark.parametrize('white', [255, 65535])
def test_floats_and_tensors_become_what_levels_become(found, wanted, white):
    dtype = np.uint8 if white == 255 else np.uint16
    levels = np.random.default_rng(found).integers(0, white + 1, (12, 9, found), dtype)
    expected = channels.set_channels(levels, wanted)
    assert expected.shape == (12, 9, wanted) and expected.dtype == dtype
    # Its number of channels is not known before it runs, as in an exported model.
    convert = tf.function(
        lambda pixels: channels.set_channels_of_tensor(pixels, wanted, tf.constant(white)),
        input_signature=[tf.TensorSpec([None, None, None, None], tf.int32)],
    )
    np.testing.assert_array_equal(convert(levels[None].astype(np.int32))[0], expected)
    floats = channels.set_channels_of_floats(levels.astype(np.float32), wanted, white)
    assert floats.dtype == np.float32
    # Half a level is what rounding takes, and the integers are not quite the shares.
    np.testing.assert_allclose(floats, expected, atol=0.51 if white == 255 else 0.8)


@pytest.mark.parametrize('found, wanted', [(5, 3), (3, 2), (1, 5)])
def test_what_cannot_be_converted_is_refused(found, wanted):
    assert not channels.can_become(found, wanted)
    image = np.zeros((4, 4, found), np.uint8)
    for convert in (channels.set_channels, lambda *of: channels.set_channels_of_floats(*of, white=255)):
        with pytest.raises(channels.BadImage, match=f'it has {found} channels, which cannot be converted to {wanted}'):
            convert(image, wanted)

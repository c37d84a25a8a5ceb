"""PNGs with what is known of the image, read with Pillow."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import png
from cyclegan_tf.data.pictures import Metadata


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_pixels_profile_and_resolution(dtype, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, channels)).astype(dtype)
    profile = imagecodecs.cms_profile('adobergb')
    data = png.encode(pixels, Metadata(icc_profile=profile, resolution=(300.0, 150.0, 'INCH')))
    np.testing.assert_array_equal(imagecodecs.png_decode(data).reshape(pixels.shape), pixels)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.info['icc_profile'] == profile
    np.testing.assert_allclose(image.info['dpi'], (300, 150), atol=0.02)
    Image.open(io.BytesIO(data)).verify()


def test_nothing_is_added_where_nothing_is_known():
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert png.encode(pixels, Metadata(resolution=(1.0, 1.0, 'NONE'))) == imagecodecs.png_encode(pixels)
    centimetres = png.encode(pixels, Metadata(resolution=(100.0, 100.0, 'CENTIMETER')))
    np.testing.assert_allclose(Image.open(io.BytesIO(centimetres)).info['dpi'], (254, 254), atol=0.02)

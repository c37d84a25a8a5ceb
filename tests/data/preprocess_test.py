"""Resizing as Pillow does it, in 8 and 16 bits; and images that are translated rather than learnt from."""

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import decode, preprocess, sources
from cyclegan_tf.data.geometry import Geometry


@pytest.mark.parametrize('size', [(40, 30), (97, 71), (64, 20), (30, 90)])
def test_resizing_sixteen_bits_agrees_with_pillow_to_a_level(photograph, size):
    expected = np.asarray(Image.fromarray(photograph).resize(size, Image.BICUBIC)).astype(float)
    np.testing.assert_array_equal(decode.to_array(preprocess.resize(Image.fromarray(photograph), *size)), expected)
    wide = preprocess.resize(photograph.astype(np.uint16) * 257, *size)
    assert np.abs(np.round(wide / 257) - expected).max() <= 1  # Pillow rounds between its two passes


def test_images_to_translate_are_whole(photographs_folder):
    source = sources.open_domains(str(photographs_folder), 'train')[0]
    assert preprocess.read_uncropped(source, 1, Geometry('none', 40, 32), 3)[0].shape == (236, 104, 3)
    assert preprocess.read_uncropped(source, 1, Geometry('resize_and_crop', 40, 32), 1)[0].shape == (32, 32, 1)
    with pytest.raises(decode.BadImage, match='cannot be converted to 2'):
        preprocess.read_uncropped(source, 1, Geometry('none', 40, 32), 2)

"""Resizes one image to the size that a geometry gives it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.levels import to_float
from cyclegan_tf.data.pictures import Picture


def resize(picture: Picture, width: int, height: int) -> Picture:
    """Bicubic resizing with antialiasing, as Pillow and thus the reference do it."""
    if isinstance(picture, Image.Image):
        return picture if picture.size == (width, height) else picture.resize((width, height), Image.BICUBIC)
    if picture.shape[:2] == (height, width):
        return picture
    # Pillow resizes floating-point images of one channel at full precision.
    planes = [
        np.asarray(Image.fromarray(picture[..., c].astype(np.float32)).resize((width, height), Image.BICUBIC))
        for c in range(picture.shape[-1])
    ]
    return np.clip(np.round(np.stack(planes, axis=-1)), 0, np.iinfo(picture.dtype).max).astype(picture.dtype)


def read_levels(source: Source, index: int, geometry: Geometry, channels: int) -> np.ndarray:
    """One image to translate, without a crop, at the size that the geometry gives it.

    Returns:
        uint8, or uint16 for an image of 16 bits, [h, w, channels].

    Raises:
        decode.BadImage: the image cannot be used; the message is the reason.
    """
    picture = set_channels(source.picture(index), channels)
    height, width = decode.to_array(picture).shape[:2]
    return decode.to_array(resize(picture, *geometry.uncropped(width, height)))


def read_uncropped(source: Source, index: int, geometry: Geometry, channels: int) -> np.ndarray:
    """read_levels as float32 in [-1, 1]."""
    return to_float(read_levels(source, index, geometry, channels))

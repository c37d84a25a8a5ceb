"""Resizes one image to the size that a geometry gives it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.levels import to_float
from cyclegan_tf.data.pictures import Metadata, Picture, resized


def resize(picture: Picture, width: int, height: int) -> Picture:
    """Bicubic resizing with antialiasing, as Pillow and thus the reference do it."""
    if isinstance(picture, Image.Image):
        return picture if picture.size == (width, height) else picture.resize((width, height), Image.BICUBIC)
    if picture.shape[:2] == (height, width):
        return picture
    # Pillow resizes floating-point images of one channel at full precision; what overshoots is clipped.
    planes = [
        np.asarray(Image.fromarray(picture[..., c].astype(np.float32)).resize((width, height), Image.BICUBIC))
        for c in range(picture.shape[-1])
    ]
    resized = np.stack(planes, axis=-1)
    if picture.dtype == np.float32:
        return np.clip(resized, -1, 1)
    return np.clip(np.round(resized), 0, np.iinfo(picture.dtype).max).astype(picture.dtype)


def read_uncropped(source: Source, index: int, geometry: Geometry, channels: int) -> tuple[np.ndarray, Metadata]:
    """One image to translate, without a crop, at the size that the geometry gives it.

    Returns:
        float32 [h, w, channels] in [-1, 1], and what else the file says.

    Raises:
        decode.BadImage: the image cannot be used; the message is the reason.
    """
    picture, metadata = source.picture_with_metadata(index)
    picture = set_channels(picture, channels)
    height, width = decode.to_array(picture).shape[:2]
    size = geometry.uncropped(width, height)
    factors = size[0] / width, size[1] / height
    return to_float(decode.to_array(resize(picture, *size))), resized(metadata, factors)

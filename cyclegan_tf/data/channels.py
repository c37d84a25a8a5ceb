"""Gray, colour, alpha: how images of so many channels become images of so many others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data.pictures import BadImage, Picture

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue in gray (ITU-R 601-2)
_LUMINANCE_OF_LEVELS = tuple(round(share * 2**16) for share in LUMINANCE)  # Pillow's integers (Convert.c, mode L)
_MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # Pillow's, by number of channels


def can_become(found: int, wanted: int) -> bool:
    """Whether set_channels brings so many channels to so many."""
    return found == wanted or (wanted in _MODES and found <= 4)


def require_channels(found: int, wanted: int) -> None:
    """Raises BadImage where set_channels cannot bring so many channels to so many."""
    if not can_become(found, wanted):
        raise BadImage(f'it has {found} channels, which cannot be made {wanted}')


def set_channels(picture: Picture, channels: int) -> Picture:
    """Gray to colour, colour to gray (ITU-R 601-2, in whole levels), alpha dropped or added, in 8 or 16 bit.

    Args:
        picture: Pillow's, or uint8 or uint16 [h, w, c].
        channels: of the result, which is of the same kind.

    Raises:
        BadImage: the image has another number of channels, and neither it nor `channels` is 1, 3 or 4.
    """
    if isinstance(picture, Image.Image):
        require_channels(len(picture.getbands()), channels)
        if channels == 2:
            return picture
        return picture if picture.mode == _MODES[channels] else picture.convert(_MODES[channels])
    if picture.shape[-1] == channels:
        return picture
    return _set_channels(picture, channels, np.iinfo(picture.dtype).max, _gray_levels)


def set_channels_of_floats(image: np.ndarray, channels: int, white: float) -> np.ndarray:
    """set_channels of float32 [h, w, c] from 0 to `white`, where gray is not rounded to whole levels."""
    if image.shape[-1] == channels:
        return image
    return _set_channels(image, channels, white, _gray_floats)


def set_channels_of_tensor(pixels: tf.Tensor, channels: int, white: tf.Tensor) -> tf.Tensor:
    """set_channels in TensorFlow's operations, for a number of channels that only running it shows.

    Args:
        pixels: int32 [n, h, w, 1 to 4] from 0 to `white`.
        channels: 1, 3 or 4.
        white: int32 [], 255 or 65535.

    Returns:
        int32 [n, h, w, channels].
    """
    found = tf.shape(pixels)[-1]
    coloured = found >= 3
    if channels == 1:
        result = tf.cond(coloured, lambda: _gray_tensor(pixels), lambda: pixels[..., :1])
    else:
        result = tf.cond(coloured, lambda: pixels[..., :3], lambda: tf.repeat(pixels[..., :1], 3, axis=-1))
    if channels == 4:
        opaque = white * tf.ones_like(pixels[..., :1])
        result = tf.concat([result, tf.cond(found % 2 == 0, lambda: pixels[..., -1:], lambda: opaque)], axis=-1)
    return tf.ensure_shape(result, [None, None, None, channels])


def _set_channels(
    image: np.ndarray, channels: int, white: float, gray: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """[h, w, c] -> [h, w, channels], another number; `gray` makes [h, w, 1] of colour."""
    found = image.shape[-1]
    require_channels(found, channels)
    colour, alpha = image[..., :1] if found <= 2 else image[..., :3], None
    if found in (2, 4):
        alpha = image[..., -1:]
    if channels == 1:
        return gray(colour) if found >= 3 else colour
    if colour.shape[-1] == 1:
        colour = np.repeat(colour, 3, axis=-1)
    if channels == 3:
        return colour
    return np.concatenate([colour, np.full_like(colour[..., :1], white) if alpha is None else alpha], axis=-1)


# ------------------------------------------------------------------------------------- [..., 3] -> [..., 1], three ways
def _gray_levels(colour: np.ndarray) -> np.ndarray:
    """uint8 or uint16, rounded as by Pillow."""
    gray = (colour.astype(np.uint64) @ np.array(_LUMINANCE_OF_LEVELS, np.uint64) + 2**15) >> 16
    return gray[..., None].astype(colour.dtype)


def _gray_floats(colour: np.ndarray) -> np.ndarray:
    return colour @ np.float32([[share] for share in LUMINANCE])


def _gray_tensor(pixels: tf.Tensor) -> tf.Tensor:
    """int32, as _gray_levels; a fourth channel is left out."""
    # 64 bits: 65535 times 2**16 does not fit into 32.
    parts = [tf.cast(pixels[..., i : i + 1], tf.int64) * share for i, share in enumerate(_LUMINANCE_OF_LEVELS)]
    return tf.cast((tf.add_n(parts) + 2**15) // 2**16, tf.int32)

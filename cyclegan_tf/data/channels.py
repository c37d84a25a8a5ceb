"""Conversions between numbers of channels: gray, colour, alpha."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data.pictures import BadImage, Picture

LUMINANCE = (0.299, 0.587, 0.114)  # weights of red, green and blue in gray (ITU-R 601-2)
REC_709 = (0.2126, 0.7152, 0.0722)  # weights of red, green and blue in luminance (ITU-R BT.709)
_LUMINANCE_OF_LEVELS = tuple(round(share * 2**16) for share in LUMINANCE)  # as in Pillow (Convert.c, mode L)
_MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # number of channels -> Pillow's mode


def can_become(channels: int, wanted: int) -> bool:
    """Whether set_channels can convert an image from one number of channels to another."""
    return channels == wanted or (wanted in _MODES and channels <= 4)


def require_channels(channels: int, wanted: int) -> None:
    """Raises BadImage if set_channels cannot convert from one number of channels to the other."""
    if not can_become(channels, wanted):
        raise BadImage(f'it has {channels} channels, which cannot be converted to {wanted}')


def set_channels(picture: Picture, channels: int) -> Picture:
    """Converts an image to another number of channels.

    Gray becomes colour, or colour becomes gray (ITU-R 601-2, levels rounded to whole ones); alpha is dropped or added.

    Args:
        picture: a Pillow image, or uint8, uint16, or float32 in [-1, 1], [h, w, c].
        channels: number of channels of the result, which has the type of `picture`.

    Raises:
        BadImage: the number of channels differs, and the image has more than 4 or `channels` is not 1, 3 or 4.
    """
    if isinstance(picture, Image.Image):
        require_channels(len(picture.getbands()), channels)
        if channels == 2:
            return picture
        return picture if picture.mode == _MODES[channels] else picture.convert(_MODES[channels])
    if picture.shape[-1] == channels:
        return picture
    if picture.dtype == np.float32:
        return _set_channels(picture, channels, 1.0, _gray_floats)
    return _set_channels(picture, channels, np.iinfo(picture.dtype).max, _gray_levels)


def set_channels_of_floats(image: np.ndarray, channels: int, white: float) -> np.ndarray:
    """set_channels for float32 [h, w, c] from 0 to `white`; gray is not rounded to whole levels."""
    if image.shape[-1] == channels:
        return image
    return _set_channels(image, channels, white, _gray_floats)


def set_channels_of_tensor(pixels: tf.Tensor, channels: int, white: tf.Tensor) -> tf.Tensor:
    """set_channels in TensorFlow's operations, for images whose number of channels is known only at run time.

    Args:
        pixels: int32 [n, h, w, 1 to 4] from 0 to `white`.
        channels: 1, 3 or 4.
        white: int32 [], 255 or 65535.

    Returns:
        int32 [n, h, w, channels].
    """
    count = tf.shape(pixels)[-1]
    coloured = count >= 3
    if channels == 1:
        result = tf.cond(coloured, lambda: _gray_tensor(pixels), lambda: pixels[..., :1])
    else:
        result = tf.cond(coloured, lambda: pixels[..., :3], lambda: tf.repeat(pixels[..., :1], 3, axis=-1))
    if channels == 4:
        opaque = white * tf.ones_like(pixels[..., :1])
        result = tf.concat([result, tf.cond(count % 2 == 0, lambda: pixels[..., -1:], lambda: opaque)], axis=-1)
    return tf.ensure_shape(result, [None, None, None, channels])


def _set_channels(
    image: np.ndarray, channels: int, white: float, gray: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """[h, w, c] -> [h, w, channels], where c differs from `channels`; `gray` converts colour to [h, w, 1]."""
    count = image.shape[-1]
    require_channels(count, channels)
    colour, alpha = image[..., :1] if count <= 2 else image[..., :3], None
    if count in (2, 4):
        alpha = image[..., -1:]
    if channels == 1:
        return gray(colour) if count >= 3 else colour
    if colour.shape[-1] == 1:
        colour = np.repeat(colour, 3, axis=-1)
    if channels == 3:
        return colour
    return np.concatenate([colour, np.full_like(colour[..., :1], white) if alpha is None else alpha], axis=-1)


# --------------------------------------------------------------------- colour to gray, [..., 3] -> [..., 1], three ways
def _gray_levels(colour: np.ndarray) -> np.ndarray:
    """uint8 or uint16, rounded as Pillow does."""
    gray = (colour.astype(np.uint64) @ np.array(_LUMINANCE_OF_LEVELS, np.uint64) + 2**15) >> 16
    return gray[..., None].astype(colour.dtype)


def _gray_floats(colour: np.ndarray) -> np.ndarray:
    return colour @ np.float32([[share] for share in LUMINANCE])


def _gray_tensor(pixels: tf.Tensor) -> tf.Tensor:
    """int32, as _gray_levels; a fourth channel is ignored."""
    # 64 bits: 65535 times 2**16 does not fit into 32.
    parts = [tf.cast(pixels[..., i : i + 1], tf.int64) * share for i, share in enumerate(_LUMINANCE_OF_LEVELS)]
    return tf.cast((tf.add_n(parts) + 2**15) // 2**16, tf.int32)

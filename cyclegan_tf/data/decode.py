"""Decodes images, upright: those of 8 bits with Pillow; deeper ones with deep.py, and TIFFs with tiff.py."""

from __future__ import annotations

import dataclasses
import io
import logging
import struct
import warnings
from typing import Optional

import numpy as np
from PIL import Image

from cyclegan_tf.data import deep, png, profiles, tiff
from cyclegan_tf.data.pictures import (
    ORIENTATION,
    BadImage,
    Header,
    Metadata,
    Picture,
    ReadOptions,
    check_finite,
    open_with_pillow,
    require_levels,
    turn,
    upright,
)

# Name endings of image files: the reference's, and WebP, GIF (of which the first frame is used), JPEG 2000 and AVIF.
EXTENSIONS = (
    '.jpg', '.jpeg', '.jfif', '.png', '.ppm', '.pgm', '.bmp', '.tif', '.tiff', '.webp', '.gif', '.jp2', '.avif'
)  # fmt: skip
ARRAY_EXTENSIONS = ('.npy',)  # images only for runs with a value range

# Pillow warns of images with half as many pixels as it refuses. The warning cannot be silenced for each thread.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)
# Whatever Pillow says of a damaged file becomes our own sentence; where a program asks for logs, they reach it.
logging.getLogger('PIL').addHandler(logging.NullHandler())

PLAIN = ReadOptions()

# Channels of Pillow's modes; all other modes have 3.
_CHANNELS = {'1': 1, 'L': 1, 'I': 1, 'I;16': 1, 'I;16B': 1, 'I;16L': 1, 'F': 1, 'LA': 2, 'La': 2, 'RGBA': 4, 'RGBa': 4}


def read_header(data: bytes, options: ReadOptions = PLAIN) -> Header:
    """Reads the header of an encoded image, without decoding its pixels.

    Raises:
        BadImage: the data is not an image, or the image claims more than options.max_pixels.
    """
    try:
        if deep.is_array(data):
            return deep.read_array_header(data, options)
        if tiff.is_tiff(data):
            return tiff.read_header(data, options)
        image = _open(data, options)
        width, height = image.size
        if _orientation(image, data) >= 5:  # a quarter turn
            width, height = height, width
        channels = _CHANNELS.get(image.mode, 3)
        if image.mode in ('P', 'PA'):
            channels = 4 if 'transparency' in image.info or image.mode == 'PA' else 3
        elif _has_transparent_colour(image) and not (options.raw and image.format == 'PNG' and data[24] < 8):
            channels += 1
        bits = deep.bits(image, data)
        bits = bits if options.raw or bits == 8 else 16
        return Header(width, height, channels, bits, image.format, channels in (2, 4))
    except Exception as error:  # decoders raise exceptions of any kind for broken data
        plain = png.without_metadata(data)
        if plain is not None and not isinstance(error, BadImage):
            return read_header(plain, options)  # raises the error again if the metadata is not what is broken
        raise _bad(error, data, options) from error


def check(data: bytes, options: ReadOptions = PLAIN) -> Header:
    """Reads the header of an image, after a check that its data is complete.

    Of PNG the checksums are verified, and of JPEG the end marker is looked for. The image is decoded only if that
    leaves a doubt, if the format has neither, or if it has more than 8 bits or a range of values: then its values are
    looked at.

    Raises:
        BadImage: as read_header; or the data is truncated or damaged, or values are not finite.
    """
    header = read_header(data, options)
    try:
        if header.format == 'PNG' and b'IEND' not in data[-64:]:
            _decode_png_without_end(data, options)
        if header.bits > 8 or options.raw:
            array = to_array(decode(data, options))
            return dataclasses.replace(header, values=(float(array.min()), float(array.max())))
        if header.format == 'PNG':
            plain = png.without_metadata(data)
            Image.open(io.BytesIO(data if plain is None else plain)).verify()
        elif header.format == 'JPEG' and not data.rstrip(b'\0').endswith(b'\xff\xd9'):
            decode(data, options)  # truncated, or followed by other data: decoding tells which
        elif header.format not in ('PNG', 'JPEG'):
            decode(data, options)  # these formats have neither checksums nor an end marker
    except BadImage:
        raise
    except Exception as error:
        raise _bad(error, data, options) from error
    return header


def decode(data: bytes, options: ReadOptions = PLAIN) -> Picture:
    """Decodes one image, upright.

    Returns:
        Of 8 bits: a Pillow image in mode L, LA, RGB or RGBA, or uint8 [h, w, c] if these modes are not its channels. Of
        16 bits: uint16 [h, w, c] over the whole range. With options.raw also other types, and values as stored.

    Raises:
        BadImage: the data cannot be decoded.
    """
    return decode_with_metadata(data, options)[0]


def decode_with_metadata(data: bytes, options: ReadOptions = PLAIN) -> tuple[Picture, Metadata]:
    """decode, and what else the file says of its image."""
    try:
        if deep.is_array(data):
            array = deep.decode_array(data, options)
            if not options.raw:
                require_levels(array.dtype)
            picture: Picture = array
            metadata = Metadata(array.dtype, has_bands=array.shape[-1] not in (1, 3))
        elif tiff.is_tiff(data):
            picture, metadata = tiff.decode(data, options)
        else:
            picture, metadata = _decode(data, options)
        if isinstance(picture, np.ndarray):
            check_finite(picture)
        return picture, metadata
    except Exception as error:
        plain = png.without_metadata(data)
        if plain is not None and not isinstance(error, BadImage):
            return decode_with_metadata(plain, options)  # raises the error again if the metadata is not what is broken
        raise _bad(error, data, options) from error


def to_array(picture: Picture) -> np.ndarray:
    """A decoded image as an array, [h, w, c], of the type of its values."""
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


# ---------------------------------------------------------------------------------------------------- steps of decoding
def _open(data: bytes, options: ReadOptions) -> Image.Image:
    """Pillow's image, of which only the header is read."""
    if not data:
        raise BadImage('the file is empty')
    return open_with_pillow(data, options.max_pixels)


def _decode(data: bytes, options: ReadOptions) -> tuple[Picture, Metadata]:
    """An image of any format but TIFF."""
    image = _open(data, options)
    orientation, profile = _orientation(image, data), image.info.get('icc_profile')
    resolution = _resolution(image)
    if orientation >= 5 and resolution is not None:
        resolution = resolution[1], resolution[0], resolution[2]
    if deep.bits(image, data) > 8:
        array = deep.decode_deep(image, data, orientation, options.raw)
        has_alpha = array.shape[-1] in (2, 4)
        array, profile = profiles.apply(array, profile, array.shape[-1] - has_alpha, options.kept_profile)
        return array, Metadata(np.dtype(np.uint16), has_alpha, icc_profile=profile, resolution=resolution)
    image.load()
    stored = deep.stored_levels(image, data) if options.raw else None
    if stored is not None:
        return turn(stored, orientation), Metadata(stored.dtype, resolution=resolution)
    if image.format == 'PNG' and image.mode == 'L' and data[24] < 8 and 'transparency' in image.info:
        # Pillow scales levels of 2 or 4 bits to 8, but not the transparent one.
        image.info['transparency'] *= 255 // (2 ** data[24] - 1)
    image, profile = _plain_mode(image, profile, options)
    if isinstance(image, np.ndarray):
        return turn(image, orientation), Metadata(image.dtype, resolution=resolution)
    if orientation != 1:
        # Departs from the reference: it ignores the orientation that the camera recorded.
        image = Image.fromarray(turn(np.asarray(image), orientation))
    has_alpha = image.mode in ('LA', 'RGBA')
    return image, Metadata(np.dtype(np.uint8), has_alpha, icc_profile=profile, resolution=resolution)


def _decode_png_without_end(data: bytes, options: ReadOptions) -> None:
    """Raises BadImage unless it is only followed by other data."""
    try:
        decode(data, options)
    except BadImage as error:
        raise BadImage('the file is truncated') from error


def _plain_mode(image: Image.Image, profile: Optional[bytes], options: ReadOptions) -> tuple[Picture, Optional[bytes]]:
    """Converts an image to mode L, LA, RGB or RGBA; returns the ICC profile that says what its colours then mean."""
    if image.mode in ('I', 'F'):
        array = to_array(image)
        if not options.raw:
            require_levels(array.dtype)
        return array, None
    if image.mode == 'CMYK' and profiles.converts(profile, 4, options.kept_profile):
        array, _ = profiles.apply(np.asarray(image), profile, 4, options.kept_profile)
        image = Image.fromarray(array) if array.shape[-1] == 3 else image
    if image.mode in ('P', 'PA', 'RGBa', 'La'):
        image = image.convert('RGBA' if image.mode != 'P' or 'transparency' in image.info else 'RGB')
    elif _has_transparent_colour(image):
        image = image.convert('RGBA' if image.mode == 'RGB' else 'LA')
    elif image.mode not in ('L', 'LA', 'RGB', 'RGBA'):
        profile = profile if image.mode in ('1', 'L') else None
        image = image.convert('L' if image.mode == '1' else 'RGB')
    colours = 3 if image.mode.startswith('RGB') else 1
    array, kept = profiles.apply(to_array(image), profile, colours, options.kept_profile)
    if profiles.converts(profile, colours, options.kept_profile):
        image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    return image, kept


def _has_transparent_colour(image: Image.Image) -> bool:
    """Whether an image without alpha names one colour as transparent, as PNGs may (tRNS)."""
    return image.mode in ('1', 'L', 'I', 'I;16', 'RGB') and 'transparency' in image.info


def _orientation(image: Image.Image, data: bytes) -> int:
    # Pillow decodes all pixels of a PNG to look for EXIF behind them.
    if image.format == 'PNG' and b'eXIf' not in data and 'Raw profile type exif' not in image.info:
        return 1
    try:
        return upright(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken metadata does not make the pixels unusable; Pillow raises anything on it
        return 1


def _resolution(image: Image.Image) -> Optional[tuple[float, float, str]]:
    try:
        x, y = (float(value) for value in image.info['dpi'])
        return (x, y, 'INCH') if x > 0 and y > 0 else None
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _bad(error: Exception, data: bytes, options: ReadOptions) -> BadImage:
    if isinstance(error, BadImage):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return BadImage(f'it claims{_claimed(data)} pixels; --max_image_pixels ({options.max_pixels:,}) is the limit')
    if isinstance(error, Image.UnidentifiedImageError):
        return BadImage('it is not an image of a known format')
    return BadImage(' '.join(str(error).split()) or type(error).__name__)


def _claimed(data: bytes) -> str:
    if data[:8] == b'\x89PNG\r\n\x1a\n':
        return ' {}x{}'.format(*struct.unpack('>II', data[16:24]))
    return ' too many'

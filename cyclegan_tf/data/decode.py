"""Decodes images, upright: those of 8 bits with Pillow; deeper ones, and those unknown to Pillow, with deep.py."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps

from cyclegan_tf.data import deep
from cyclegan_tf.data.pictures import MAX_PIXELS, ORIENTATION, BadImage, Header, Picture, limit_pixels

# Name endings of image files: the reference's, and WebP and GIF (of which the first frame is used).
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.pgm', '.bmp', '.tif', '.tiff', '.webp', '.gif')

# Pillow warns of images with half as many pixels as it refuses. The warning cannot be silenced for each thread.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)

# Channels of Pillow's modes; all other modes have 3.
_CHANNELS = {'1': 1, 'L': 1, 'I': 1, 'I;16': 1, 'I;16B': 1, 'I;16L': 1, 'F': 1, 'LA': 2, 'La': 2, 'RGBA': 4, 'RGBa': 4}
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_WIDTH, _HEIGHT = 0x0100, 0x0101  # tags of TIFF


def read_header(data: bytes) -> Header:
    """Reads the header of an encoded image, without decoding its pixels.

    Raises:
        BadImage: the data is not an image, or the image claims more than MAX_PIXELS.
    """
    try:
        image = _open(data)
        if image is None:
            return deep.read_tiff_header(data)
        if image.format == 'TIFF':  # newer releases of Pillow swap width and height of a rotated TIFF themselves
            width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        else:
            width, height = image.size
        if _orientation(image) >= 5:  # a quarter turn
            width, height = height, width
        channels = _CHANNELS.get(image.mode, 3)
        if image.mode in ('P', 'PA'):
            channels = 4 if 'transparency' in image.info or image.mode == 'PA' else 3
        return Header(width, height, channels, 16 if deep.is_deep(image, data) else 8, image.format)
    except Exception as error:  # decoders raise exceptions of any kind for broken data
        raise _bad(error, data) from error


def check(data: bytes) -> Header:
    """Reads the header of an image, after a check that its data is complete.

    Of PNG the checksums are verified, and of JPEG the end marker is looked for. The image is decoded only if that
    leaves a doubt, or if the format has neither.

    Raises:
        BadImage: as read_header; or the data is truncated or damaged.
    """
    header = read_header(data)
    try:
        if header.format == 'PNG':
            Image.open(io.BytesIO(data)).verify()
            if b'IEND' not in data[-64:]:
                decode(data)
        elif header.format == 'JPEG' and not data.rstrip(b'\0').endswith(b'\xff\xd9'):
            decode(data)  # truncated, or followed by other data: decoding tells which
        elif header.format not in ('PNG', 'JPEG'):
            decode(data)  # these formats have neither checksums nor an end marker
    except BadImage:
        raise
    except Exception as error:
        raise _bad(error, data) from error
    return header


def decode(data: bytes) -> Picture:
    """Decodes one image, upright.

    Returns:
        Of 8 bits: a Pillow image in mode L, LA, RGB or RGBA, or uint8 [h, w, c] for a TIFF with another number of
        channels. Of 16 bits: uint16 [h, w, c] over the whole range.

    Raises:
        BadImage: the data cannot be decoded.
    """
    try:
        image = _open(data)
        if image is None:
            return deep.decode_tiff(data)
        if deep.is_deep(image, data):
            return deep.decode_deep(data, image.format, _orientation(image))
        image.load()  # newer releases of Pillow rotate a TIFF here and remove its orientation tag
        if _orientation(image) != 1:
            # Departs from the reference: it ignores the orientation that the camera recorded.
            image = ImageOps.exif_transpose(image)
        return _plain_mode(image)
    except Exception as error:
        raise _bad(error, data) from error


def to_array(picture: Picture) -> np.ndarray:
    """A decoded image as uint8 or uint16 [h, w, c]."""
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


# ---------------------------------------------------------------------------------------------------- steps of decoding
def _open(data: bytes):
    """Pillow's image, of which only the header is read; None for a TIFF of a kind that Pillow does not support."""
    if not data:
        raise BadImage('the file is empty')
    try:
        image = Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        if data[:4] in _TIFF:
            return None
        raise
    limit_pixels(*image.size)
    if image.format == 'TIFF' and (image.mode not in _CHANNELS and image.mode not in ('RGB', 'CMYK', 'P', 'YCbCr')):
        return None
    return image


def _plain_mode(image: Image.Image) -> Image.Image:
    """Converts an image to mode L, LA, RGB or RGBA."""
    if image.mode in ('L', 'LA', 'RGB', 'RGBA'):
        return image
    if image.mode == '1':
        return image.convert('L')
    if image.mode in ('P', 'PA', 'RGBa', 'La'):
        return image.convert('RGBA' if image.mode != 'P' or 'transparency' in image.info else 'RGB')
    if image.mode in ('I', 'F'):
        raise BadImage('its pixels are 32-bit integers or floating-point numbers; store it with 8 or 16 bits')
    return image.convert('RGB')


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ORIENTATION, 1)


def _bad(error: Exception, data: bytes) -> BadImage:
    if isinstance(error, BadImage):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return BadImage(f'it claims more than {MAX_PIXELS:,} pixels{_claimed(data)}')
    if isinstance(error, Image.UnidentifiedImageError):
        return BadImage('it is not an image of a known format')
    return BadImage(' '.join(str(error).split()) or type(error).__name__)


def _claimed(data: bytes) -> str:
    if data[:8] == b'\x89PNG\r\n\x1a\n':
        return ': {}x{}'.format(*struct.unpack('>II', data[16:24]))
    return ''

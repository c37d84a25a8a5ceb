"""Images whose values Pillow does not decode as they are: PNG, PPM, JPEG 2000 and AVIF of more than 8 bits; arrays."""

from __future__ import annotations

import io
from typing import Optional

import imagecodecs
import netpbmfile
import numpy as np
from PIL import Image

from cyclegan_tf.data.pictures import BadImage, Header, ReadOptions, fill_range, kind_of, limit_pixels, turn

_NPY = b'\x93NUMPY'  # the first bytes of an array's file (numpy.lib.format)


def bits(image: Image.Image, data: bytes) -> int:
    """Bits per channel; `image` is `data` as Pillow opened it, of which no pixel is decoded. 8 if there are fewer."""
    if image.format == 'PNG':
        return max(8, data[24])  # bit depth in the header chunk (PNG specification, 11.2.2)
    if image.format == 'PPM':
        deep = image.mode == 'I' or any(isinstance(t.args, tuple) and t.args[1] > 255 for t in image.tile)
        return 16 if deep else 8
    if image.format == 'JPEG2000':
        at = data.find(b'\xff\x51')  # the marker of the sizes, 40 bytes before the first component's depth less 1
        return max(8, (data[at + 40] & 0x7F) + 1) if 0 <= at < len(data) - 40 else 8
    if image.format == 'AVIF':
        at = data.find(b'av1C')  # AV1 in ISO base media files, 2.3.3: two flags say 10 bits or 12
        flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
        return (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    return 8


def decode_deep(image: Image.Image, data: bytes, orientation: int, raw: bool) -> np.ndarray:
    """An image of more than 8 bits, upright: uint16 [h, w, c] over the whole range, or the values as they are.

    Args:
        image: `data` as Pillow opened it.
        data: the encoded image.
        orientation: EXIF's, from 1 to 8.
        raw: whether values are returned as they are stored.

    Raises:
        BadImage, or what a decoder raises on broken data, which is of every kind.
    """
    if image.format == 'PNG':
        array, maximum = imagecodecs.png_decode(data), 65535
    elif image.format == 'PPM':
        with netpbmfile.NetpbmFile(io.BytesIO(data)) as file:
            array, maximum = file.asarray(), file.maxval
    elif image.format == 'JPEG2000':
        array, maximum = imagecodecs.jpeg2k_decode(data), 2 ** bits(image, data) - 1
    else:
        array, maximum = imagecodecs.avif_decode(data), 2 ** bits(image, data) - 1
    if array.dtype.kind != 'u' or array.dtype.itemsize > 2:
        raise BadImage(f'its values are {array.dtype}, which {image.format} is not read with; convert it to TIFF')
    array = array if raw else fill_range(array, maximum)
    return turn(array.reshape(*array.shape[:2], -1).astype(np.uint16, copy=False), orientation)


def stored_levels(image: Image.Image, data: bytes) -> Optional[np.ndarray]:
    """The values of a PNG of gray or of a PPM as they are stored, uint8 [h, w, c], where Pillow has scaled them.

    Args:
        image: `data` as Pillow opened it, of at most 8 bits.
        data: the encoded image.
    """
    if image.format == 'PPM':
        with netpbmfile.NetpbmFile(io.BytesIO(data)) as file:
            array = file.asarray()
    elif image.format == 'PNG' and data[24] < 8 and data[25] == 0:  # bits per pixel, and gray
        array = np.asarray(image.convert('L')) // (255 // (2 ** data[24] - 1))
    else:
        return None
    return array.reshape(*array.shape[:2], -1).astype(np.uint8)


# --------------------------------------------------------------------------------------------------------------- arrays
def is_array(data: bytes) -> bool:
    """Whether the data is an array's file, as numpy.save writes it."""
    return data.startswith(_NPY)


def decode_array(data: bytes, options: ReadOptions) -> np.ndarray:
    """An array's file: [h, w], [h, w, c], or [c, h, w] if only its first length can be a number of channels.

    That is one in `options`, or from 1 to 4.

    Returns:
        [h, w, c] of the stored type.

    Raises:
        BadImage: it is no image; or values are not numbers; or as decode_deep.
    """
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.kind not in 'buif' or array.ndim not in (2, 3) or not array.size:
        raise BadImage(f'it is an array of {array.dtype} {list(array.shape)}, not of numbers [height, width, channels]')
    if array.ndim == 2:
        array = array[..., None]
    else:
        first, last = (length in options.channels or length <= 4 for length in (array.shape[0], array.shape[-1]))
        array = np.moveaxis(array, 0, -1) if first and not last else array
    limit_pixels(array.shape[1], array.shape[0], options.max_pixels)
    return np.ascontiguousarray(array, array.dtype.newbyteorder('='))


def read_array_header(data: bytes, options: ReadOptions) -> Header:
    """The header of an array's file; raises as decode_array."""
    array = decode_array(data, options)
    height, width, count = array.shape
    return Header(width, height, count, 8 * array.dtype.itemsize, 'NPY', kind=kind_of(array.dtype))

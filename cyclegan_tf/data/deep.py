"""Images that Pillow does not decode as they are: those of 16 bits, and TIFFs of kinds that it does not know."""

from __future__ import annotations

import io

import imagecodecs
import netpbmfile
import numpy as np
import tifffile
from PIL import Image

from cyclegan_tf.data.pictures import ORIENTATION, BadImage, Header, limit_pixels


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a channel has more than 8 bits; `image` is `data` as Pillow opened it, of which no pixel is decoded."""
    if image.format == 'PNG':
        return data[24] == 16  # bit depth in the header chunk (PNG specification, 11.2.2)
    if image.format == 'TIFF':
        return max(image.tag_v2.get(tifffile.TIFF.TAGS['BitsPerSample'], (8,))) > 8
    if image.format == 'PPM':
        return image.mode == 'I' or any(isinstance(t.args, tuple) and t.args[1] > 255 for t in image.tile)
    return False


def decode_deep(data: bytes, format: str, orientation: int) -> np.ndarray:
    """An image for which is_deep holds, upright: uint16 [h, w, c] over the whole range.

    Args:
        data: the encoded image.
        format: 'PNG', 'TIFF' or 'PPM', as Pillow names it.
        orientation: EXIF's, from 1 to 8; a TIFF's own is read from it.

    Raises:
        BadImage, or what a decoder raises on broken data, which is of every kind.
    """
    if format == 'TIFF':
        return decode_tiff(data)
    if format == 'PNG':
        array = imagecodecs.png_decode(data)
    else:
        with netpbmfile.NetpbmFile(io.BytesIO(data)) as file:
            array = _scale(file.asarray(), file.maxval)
    return _turn(array.reshape(*array.shape[:2], -1).astype(np.uint16, copy=False), orientation)


def read_tiff_header(data: bytes) -> Header:
    """The header of a TIFF of any kind; raises as decode_deep."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
        limit_pixels(width, height)
        if _tiff_orientation(page) >= 5:
            width, height = height, width
        channels = 3 if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else channels
        return Header(width, height, channels, 16 if page.bitspersample > 8 else 8, 'TIFF')


def decode_tiff(data: bytes) -> np.ndarray:
    """The first page of a TIFF of any kind, upright: uint8 or uint16 [h, w, c]; raises as decode_deep."""
    read_tiff_header(data)  # which holds the limit
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        array = page.asarray()
        if array.dtype.kind != 'u' or array.dtype.itemsize > 2:
            raise BadImage(f'its pixels are {array.dtype}; store it with 8 or 16 bits')
        if page.axes.startswith('S'):  # one plane after the other
            array = np.moveaxis(array, 0, -1)
        array = array.reshape(page.imagelength, page.imagewidth, -1)
        array = _scale(array, 2**page.bitspersample - 1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            array = np.iinfo(array.dtype).max - array
        if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
            array = _without_inks(array)
        return _turn(array, _tiff_orientation(page))


def _without_inks(array: np.ndarray) -> np.ndarray:
    """[h, w, cyan magenta yellow black] -> [h, w, red green blue] without profiles, as Pillow does it in 8 bits."""
    if array.shape[-1] != 4:
        raise BadImage(f'its colours are those of {array.shape[-1]} inks; store it as RGB')
    max_level = np.iinfo(array.dtype).max
    light = (max_level - array.astype(np.uint64)) * (max_level - array[..., 3:].astype(np.uint64))
    return ((light[..., :3] + max_level // 2) // max_level).astype(array.dtype)


def _tiff_orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get(ORIENTATION)
    return 1 if tag is None else int(tag.value)


def _scale(array: np.ndarray, maximum: int) -> np.ndarray:
    """0..maximum -> the full range of uint8 or uint16."""
    dtype = np.uint8 if maximum <= 255 else np.uint16
    max_level = np.iinfo(dtype).max
    if maximum == max_level:
        return array.astype(dtype, copy=False)
    return np.round(array.astype(np.float64) * (max_level / maximum)).astype(dtype)


def _turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """[h, w, c] as the EXIF orientation says (EXIF 2.32, tag 0x0112)."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    vertical = orientation in (3, 4, 7, 8)
    horizontal = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(array[:: -1 if vertical else 1, :: -1 if horizontal else 1])

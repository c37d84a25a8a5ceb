"""What decoding an image gives: pixels, a header, what else the file says; or the reason why it cannot be decoded."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from typing import Any, Optional, Union

import numpy as np
from PIL import Image

MAX_PIXELS = 178_956_970  # of one image, unless ReadOptions say otherwise; Pillow refuses larger ones as bombs
ORIENTATION = 0x0112  # a tag of TIFF and of EXIF

# Images of 8 bits are Pillow's, which resizes them as the reference does, unless Pillow has no mode for their channels:
# these are uint8 [h, w, c]. Images of 16 bits are uint16 [h, w, c], since Pillow reads 16-bit colour with 8 bits. Where
# a value range maps an image's values, it is float32 [h, w, c] in [-1, 1].
Picture = Union[Image.Image, np.ndarray]


class BadImage(ValueError):
    """An image that cannot be used; the message is the reason, without the image's name."""


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How image files are read.

    Attributes:
        channels: the numbers of channels that the networks take: a TIFF whose meaning is open is read so as to fit.
        value_range: the values that become -1 and 1. Decoding then returns values as they are stored, integers or
            floats of any size. None: values have to be unsigned integers of at most 16 bits, and fill the range of
            uint8 or uint16.
        pages_are_channels: the pages of a TIFF with several ones are the channels of one image.
        max_pixels: larger images are refused.
        kept_profile: the ICC colour space ('RGB ', 'GRAY') of the profiles that leave an image's colours as they are;
            by all other profiles the image is converted to sRGB. None: profiles are ignored.
    """

    channels: tuple[int, ...] = (3,)
    value_range: Optional[tuple[float, float]] = None
    pages_are_channels: bool = False
    max_pixels: int = MAX_PIXELS
    kept_profile: Optional[str] = None

    @property
    def raw(self) -> bool:
        """Whether values are returned as they are stored."""
        return self.value_range is not None


@dataclasses.dataclass(frozen=True)
class Header:
    """What an image's header says, and for the values of deep images the pixels themselves.

    Attributes:
        width, height: upright size in pixels.
        channels: number of channels: 1, 2 (gray and alpha), 3, 4 (colour and alpha), ...
        bits: per channel.
        format: 'JPEG', 'PNG', ...
        has_alpha: whether the last channel is alpha.
        kind: of the values: 'u', 'i' or 'f', as numpy.dtype.kind.
        values: the smallest and the largest value, of images of more than 8 bits or with a value range that were
            decoded; else None.
        note: what the user should know about how the file is read; may be empty.
    """

    width: int
    height: int
    channels: int
    bits: int
    format: str
    has_alpha: bool = False
    kind: str = 'u'
    values: Optional[tuple[float, float]] = None
    note: str = ''


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata of a file that is passed on to the translation.

    Attributes:
        dtype: of the stored values, such as uint8.
        has_alpha: whether the last channel is alpha.
        has_bands: whether there are channels beyond gray or colour that are not alpha.
        icc_profile: what the colours mean; None: unknown, or the image was converted to sRGB.
        resolution: pixels per unit in x and y, and the unit: 'INCH', 'CENTIMETER' or 'NONE'; None: unknown.
        geotiff: GeoTIFF's tags: number -> (type of TIFF, count, value).
    """

    dtype: np.dtype = np.dtype(np.uint8)
    has_alpha: bool = False
    has_bands: bool = False
    icc_profile: Optional[bytes] = None
    resolution: Optional[tuple[float, float, str]] = None
    geotiff: Mapping[int, tuple[int, int, Any]] = dataclasses.field(default_factory=dict)


NO_METADATA = Metadata()


def limit_pixels(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Raises BadImage for an image that claims more than `most` pixels."""
    if width * height > most:
        raise BadImage(f'it claims {width}x{height} pixels; --max_image_pixels ({most:,}) is the limit')


def open_with_pillow(data: bytes, most: int) -> Image.Image:
    """Pillow's image of a file, of which only the header is read; raises what Pillow raises, and as limit_pixels."""
    if most > MAX_PIXELS and Image.MAX_IMAGE_PIXELS is not None:
        # Pillow's limit is one for the whole process; it refuses twice as much as it warns of.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most // 2 + 1)
    image = Image.open(io.BytesIO(data))
    limit_pixels(*image.size, most)
    return image


def kind_of(dtype: np.dtype) -> str:
    """Header.kind of values of a type."""
    return 'u' if dtype.kind == 'b' else dtype.kind


def upright(orientation: Any) -> int:
    """The orientation that EXIF states, from 1 to 8; anything else means nothing, and is 1: upright."""
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """[h, w, c] as the EXIF orientation, from 1 to 8, says (EXIF 2.32, tag 0x0112)."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    vertical = orientation in (3, 4, 7, 8)
    horizontal = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(array[:: -1 if vertical else 1, :: -1 if horizontal else 1])


def fill_range(array: np.ndarray, maximum: int) -> np.ndarray:
    """Unsigned integers from 0 to `maximum` -> the full range of uint8 or uint16."""
    dtype = np.uint8 if maximum <= 255 else np.uint16
    max_level = np.iinfo(dtype).max
    if maximum == max_level:
        return array.astype(dtype, copy=False)
    return np.round(array.astype(np.float64) * (max_level / maximum)).astype(dtype)


def check_finite(array: np.ndarray) -> None:
    """Raises BadImage if a value is not finite."""
    if array.dtype.kind == 'f' and not np.isfinite(array).all():
        raise BadImage('some of its values are not finite numbers (NaN or infinity); replace these')


def turned(metadata: Metadata) -> Metadata:
    """The metadata of an image after a quarter turn."""
    if metadata.resolution is None:
        return metadata
    x, y, unit = metadata.resolution
    return dataclasses.replace(metadata, resolution=(y, x, unit))


def resized(metadata: Metadata, factors: tuple[float, float]) -> Metadata:
    """The metadata of an image whose width and height are multiplied by these factors."""
    if factors == (1, 1):
        return metadata
    resolution = metadata.resolution
    if resolution is not None:
        resolution = (resolution[0] * factors[0], resolution[1] * factors[1], resolution[2])
    geotiff = dict(metadata.geotiff)
    # OGC 19-008r4: places of pixels count from the corner of the first one, or, if key 1025 is 2, from its centre.
    keys = geotiff.get(34735, (0, 0, ()))[2]
    is_point = any(keys[i] == 1025 and keys[i + 3] == 2 for i in range(4, len(keys) - 3, 4))
    origin = 0.5 if is_point else 0.0
    # A pixel's size on the map; places of pixels (x, y, z) with those on the map; or a matrix from ones to the others.
    if 33550 in geotiff:
        kind, count, value = geotiff[33550]
        geotiff[33550] = kind, count, (value[0] / factors[0], value[1] / factors[1], *value[2:])
    if 33922 in geotiff:
        kind, count, value = geotiff[33922]
        moved = [(number + origin) * factors[i % 6] - origin if i % 6 < 2 else number for i, number in enumerate(value)]
        geotiff[33922] = kind, count, tuple(moved)
    if 34264 in geotiff:
        kind, count, value = geotiff[34264]
        matrix = np.reshape(value, (4, 4)) @ np.array(
            [
                [1 / factors[0], 0, 0, origin / factors[0] - origin],
                [0, 1 / factors[1], 0, origin / factors[1] - origin],
                [0, 0, 1, 0],
                [0, 0, 0, 1],
            ]
        )
        geotiff[34264] = kind, count, tuple(map(float, matrix.ravel()))
    return dataclasses.replace(metadata, resolution=resolution, geotiff=geotiff)


def require_levels(dtype: np.dtype) -> None:
    """Raises BadImage if values of this type are not levels of 8 or 16 bits, and need a value range."""
    if dtype.kind != 'u' or dtype.itemsize > 2:
        raise BadImage(f'its values are {dtype}; train with --value_range=LOW,HIGH, which become black and white')

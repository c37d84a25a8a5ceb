"""What decoding an image gives: pixels, or only a header, or the reason why neither is possible."""

from __future__ import annotations

import dataclasses
from typing import Union

import numpy as np
from PIL import Image

MAX_PIXELS = 178_956_970  # of one image; Pillow refuses larger ones as decompression bombs
ORIENTATION = 0x0112  # a tag of TIFF and of EXIF

# Images of 8 bits are Pillow's, which resizes them as the reference does. Images of 16 bits are uint16 [h, w, c], since
# Pillow reads 16-bit colour with 8 bits.
Picture = Union[Image.Image, np.ndarray]


class BadImage(ValueError):
    """An image that cannot be used; the message is the reason, without the image's name."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What an image's header says: upright size in pixels, channels (1, 2: gray and alpha, 3, 4, ...), bits per channel
    (8 or 16), format ('JPEG', 'PNG', ...)."""

    width: int
    height: int
    channels: int
    bits: int
    format: str


def limit_pixels(width: int, height: int) -> None:
    """Raises BadImage for an image that claims more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise BadImage(f'it claims {width}x{height} pixels; the limit is {MAX_PIXELS:,}')

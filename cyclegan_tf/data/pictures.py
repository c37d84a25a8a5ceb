"""What an encoded image becomes: pixels, or a header alone, or the reason why neither can be had."""

from __future__ import annotations

import dataclasses
from typing import Union

import numpy as np
from PIL import Image

MAX_PIXELS = 178_956_970  # an image may claim; what Pillow refuses as a decompression bomb
ORIENTATION = 0x0112  # a tag of TIFF and of EXIF

# 8-bit images are Pillow's, which resizes them as the reference does; 16-bit ones are uint16 [h, w, c], since Pillow
# reads colour of 16 bits as 8.
Picture = Union[Image.Image, np.ndarray]


class BadImage(ValueError):
    """An image that cannot be used; the message is the reason, without the image's name."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What an image says of itself: upright size in pixels, channels (1, 2: gray and alpha, 3, 4, ...), bits a
    channel (8 or 16), format ('JPEG', 'PNG', ...)."""

    width: int
    height: int
    channels: int
    bits: int
    format: str


def limit_pixels(width: int, height: int) -> None:
    """Raises BadImage where an image claims more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise BadImage(f'it claims {width}x{height} pixels; the limit is {MAX_PIXELS:,}')

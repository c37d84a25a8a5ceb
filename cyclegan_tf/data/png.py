"""PNGs in parts: writes them with what else is known of the image, and takes away metadata that cannot be read."""

from __future__ import annotations

import struct
import zlib
from typing import Optional

import imagecodecs
import numpy as np

from cyclegan_tf.data.pictures import NO_METADATA, Metadata

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_HEADER_END = 33  # bytes of the signature and of the header chunk, which comes first
_INCH = 0.0254  # metres


def encode(picture: np.ndarray, metadata: Metadata = NO_METADATA) -> bytes:
    """Encodes uint8 or uint16 [h, w, 1 to 4] with its ICC profile and resolution."""
    data = imagecodecs.png_encode(np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture))
    chunks = b''
    if metadata.icc_profile:
        # PNG specification, 11.3.3.3: a name, a zero, the method of compression, which is 0, and the profile
        chunks += _chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(metadata.icc_profile))
    if metadata.resolution and metadata.resolution[2] != 'NONE':
        *density, unit = metadata.resolution
        metre = _INCH if unit == 'INCH' else 0.01
        per_metre = [min(max(round(value / metre), 1), 2**31 - 1) for value in density]
        chunks += _chunk(b'pHYs', struct.pack('>IIB', *per_metre, 1))  # 11.3.5.3
    return data[:_HEADER_END] + chunks + data[_HEADER_END:]


def without_metadata(data: bytes) -> Optional[bytes]:
    """The same picture without the chunks that are not needed to show it; None if there are none, or it is no PNG.

    What is needed has a capital as its first letter (PNG specification, 5.4). A transparent colour is kept, too, and so
    is undamaged EXIF, which holds the orientation.
    """
    if not data.startswith(_SIGNATURE):
        return None
    parts, at, found = [_SIGNATURE], len(_SIGNATURE), False
    while at + 12 <= len(data):
        (length,) = struct.unpack_from('>I', data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        is_exif = kind == b'eXIf' and struct.pack('>I', zlib.crc32(data[at + 4 : end - 4])) == data[end - 4 : end]
        if kind[:1].isupper() or kind == b'tRNS' or is_exif:
            parts.append(data[at:end])
        else:
            found = True
        at = end
    return b''.join(parts) if found else None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

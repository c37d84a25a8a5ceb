"""Which images of two domains are pairs: those of the same name, unless names and sizes contradict that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from cyclegan_tf.data import decode
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.image_source import Source


def find(source: Source, other: Source) -> Mapping[str, int]:
    """The names that images of both sources have -> the image's index in `other`."""
    names = set(source.names)
    return {name: index for index, name in enumerate(other.names) if name in names}


def doubt(a: Source, b: Source, geometry: Geometry) -> Optional[str]:
    """Why images of the same name are not pairs; None if they are, or if no name is in both domains.

    A few names may be in both domains by chance, and all of them may be if they are numbers. So sizes are compared,
    too: those of the files if all images are resized to one size, else those at which pairs are compared.

    Args:
        a, b: the domains.
        geometry: the sizes at which pairs are compared.
    """
    places, counterparts = find(b, a), find(a, b)
    fewer = min(len(a), len(b))
    if places and 2 * len(places) <= fewer:
        return f'only {len(places)} of {fewer} have a counterpart of the same name'
    if a.half is not None:
        return None  # halves of one image
    same = different = 0
    for name, place in places.items():
        try:
            equal = _size(a, place, geometry) == _size(b, counterparts[name], geometry)
        except decode.BadImage:
            continue  # the error is reported where the images are read
        same, different = same + equal, different + (not equal)
        if 2 * max(same, different) > len(places):
            break
    return 'most counterparts of the same name have another size' if different > same else None


def _size(source: Source, index: int, geometry: Geometry) -> tuple[int, int]:
    header = source.cut_header(decode.read_header(source.read(index)))
    if geometry.preprocess == 'resize_and_crop':
        return header.width, header.height
    return geometry.uncropped(header.width, header.height)

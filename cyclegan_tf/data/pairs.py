"""Which images of two domains are pairs: those of one name, unless names and sizes speak against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from cyclegan_tf.data import decode
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.image_source import Source


def find(source: Source, other: Source) -> Mapping[str, int]:
    """Names of images that have a counterpart of the same name in the other domain -> its index there."""
    names = set(source.names)
    return {name: index for index, name in enumerate(other.names) if name in names}


def doubt(a: Source, b: Source, geometry: Geometry) -> Optional[str]:
    """Why images of one name are no pairs; None where they are, or where there are none.

    A name or two may be in both domains by chance, and all may where they are numbers. So sizes count too: those of the
    files where all are resized to one, else those at which pairs are compared.

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
    same = other = 0
    for name, place in places.items():
        try:
            equal = _size(a, place, geometry) == _size(b, counterparts[name], geometry)
        except decode.BadImage:
            continue  # it is named where images are read
        same, other = same + equal, other + (not equal)
        if 2 * max(same, other) > len(places):
            break
    return 'most counterparts of the same name are of another size' if other > same else None


def _size(source: Source, index: int, geometry: Geometry) -> tuple[int, int]:
    header = source.cut_header(decode.read_header(source.read(index)))
    if geometry.preprocess == 'resize_and_crop':
        return header.width, header.height
    return geometry.uncropped(header.width, header.height)

"""Which images of two domains are pairs: those of the same name, unless names, sizes or contents contradict that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
from PIL import Image

from cyclegan_tf.data import decode
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.levels import to_float
from cyclegan_tf.errors import UserError

_LOOKED_AT = 24  # pairs whose contents are compared
_FEWEST = 6  # with fewer, there are too few orders for a share of _CHANCE to mean anything
_SIDE = 64  # pixels, to which images are reduced before their edges are compared
_ORDERS = 999  # random orders with which the order of the names is compared
_CHANCE = 0.01  # share of these that may agree as well as the order of the names


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether images of the same name are pairs, and why; no reason if no two have the same name."""

    are_pairs: bool
    reason: str

    def __str__(self):
        return f'Images of the same name are {"" if self.are_pairs else "not "}compared as pairs: {self.reason}'


def find(source: Source, other: Source) -> Mapping[str, int]:
    """The names that images of both sources have -> the image's index in `other`."""
    names = set(source.names)
    return {name: index for index, name in enumerate(other.names) if name in names}


def match(sources: Sequence[Source], flag: str, value: str, pairing: str) -> list[Source]:
    """The images of several sources whose names are in all of them, in the order of the first source's.

    Args:
        sources: the images; the `notes` of a source that has other images get a line about them.
        flag, value: the argument that names the images, for messages.
        pairing: see Source.

    Raises:
        UserError: no name is in all of them.
    """
    names = [set(source.names) for source in sources]
    common = set.intersection(*names)
    places = [source.where for source in sources]
    if not common:
        raise UserError(
            f"`{flag}` ('{value}') holds no pairs: no image of {places[0]} has the name of one in "
            f'{" and ".join(places[1:])} (the first ones are {", ".join(source.names[0] for source in sources)}); '
            f'give images that belong together the same name.'
        )
    matched, order = [], [name for name in sources[0].names if name in common]
    for source in sources:
        index_of = {name: index for index, name in enumerate(source.names)}
        lone = [name for name in source.names if name not in common]
        notes = list(source.notes)
        if lone:
            what = 'image has' if len(lone) == 1 else 'images have'
            others = ' and '.join(place for place in places if place != source.where)
            notes.append(
                f'{len(lone)} {what} no counterpart of the same name in {others}, left out of {source.where}: '
                f'{", ".join(lone)}.'
            )
        selected = source.select([index_of[name] for name in order])
        matched.append(dataclasses.replace(selected, notes=notes, pairing=pairing))
    return matched


def decide(asked: str, a: Source, b: Source, geometry: Geometry) -> Decision:
    """Decides whether images of the same name are pairs.

    A few names may be in both domains by chance, and all of them may be if they are numbers. So sizes are compared,
    too: those of the files if all images are resized to one size, else those at which pairs are compared. And contents:
    the edges of true pairs agree better than those of the same images in almost any other order.

    Args:
        asked: 'yes', 'no' or 'auto'.
        a, b: the domains.
        geometry: the sizes at which pairs are compared.

    Raises:
        UserError: 'yes', but no two images have the same name.
    """
    counterparts = find(a, b)
    if not counterparts:
        if asked == 'yes':
            raise UserError(f'`pairs` (yes) needs images of the same name in {a.where} and {b.where}; set it to auto.')
        return Decision(False, '')
    if asked != 'auto':
        return Decision(asked == 'yes', f'--pairs={asked}')
    if a.pairing:
        return Decision(True, a.pairing)
    places = find(b, a)
    fewer = min(len(a), len(b))
    if 2 * len(places) <= fewer:
        return Decision(False, f'only {len(places)} of {fewer} have a counterpart of the same name')
    if not _sizes_agree(a, b, places, counterparts, geometry):
        return Decision(False, 'most counterparts of the same name have another size')
    return _compare_contents(a, b, places, counterparts)


def _sizes_agree(
    a: Source, b: Source, places: Mapping[str, int], counterparts: Mapping[str, int], geometry: Geometry
) -> bool:
    same = different = 0
    for name, place in places.items():
        try:
            equal = _size(a, place, geometry) == _size(b, counterparts[name], geometry)
        except decode.BadImage:
            continue  # the error is reported where the images are read
        same, different = same + equal, different + (not equal)
        if 2 * max(same, different) > len(places):
            break
    return same >= different


def _size(source: Source, index: int, geometry: Geometry) -> tuple[int, int]:
    header = source.cut_header(decode.read_header(source.read(index), source.options))
    if geometry.preprocess == 'resize_and_crop':
        return header.width, header.height
    return geometry.uncropped(header.width, header.height)


def _compare_contents(a: Source, b: Source, places: Mapping[str, int], counterparts: Mapping[str, int]) -> Decision:
    """Compares the edges of some images with those of their counterparts, and with the others'."""
    names = list(places)
    names = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, _LOOKED_AT).astype(int))]
    edges = [(_edges(a, places[name]), _edges(b, counterparts[name])) for name in names]
    edges = [pair for pair in edges if pair[0] is not None and pair[1] is not None]
    if len(edges) < _FEWEST:
        return Decision(True, f'names and sizes agree; contents are compared only of {_FEWEST} pairs or more')
    own, others, chance = compare_edges(*map(np.stack, zip(*edges)))
    found = f'the edges of {len(edges)} of them correlate by {own:.2f}, those of other images by {others:.2f}'
    if chance <= _CHANCE:
        return Decision(True, found)
    return Decision(False, f'{found}; --pairs=yes compares them nevertheless')


def compare_edges(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Compares edges, [n, d] each, of mean 0 and length 1.

    Returns:
        The mean correlation of rows of the same index; of rows of different indices; and the share of random orders of
        `b` whose correlation is at least as high as that of its own order.
    """
    correlations = a @ b.T
    count = len(correlations)
    own = np.trace(correlations) / count
    others = (correlations.sum() - np.trace(correlations)) / (count * (count - 1))
    random, rows = np.random.default_rng(0), np.arange(count)
    shuffled = [correlations[rows, random.permutation(count)].mean() for _ in range(_ORDERS)]
    return float(own), float(others), (1 + sum(value >= own for value in shuffled)) / (1 + _ORDERS)


def _edges(source: Source, index: int) -> Optional[np.ndarray]:
    """Where an image has edges, [_SIDE * _SIDE] of mean 0 and length 1; None if it cannot be read or has no edges."""
    try:
        array = to_float(decode.to_array(source.picture(index)))
    except decode.BadImage:
        return None  # reported where the images are read
    gray = Image.fromarray(array[..., :3].mean(axis=-1, dtype=np.float32))
    # The mean of all pixels, whatever the size, so that noise does not look like edges.
    small = np.asarray(gray.resize((_SIDE, _SIDE), Image.BOX))
    steps: Sequence[np.ndarray] = np.gradient(small)
    strength = np.hypot(*steps).ravel()
    strength -= strength.mean()
    length = np.linalg.norm(strength)
    return strength / length if length > 1e-6 else None

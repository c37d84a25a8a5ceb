"""The decoded images of a domain by index, at the sizes of one geometry; cached if they fit."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import threading
from collections.abc import Sequence
from typing import Optional

import numpy as np

from cyclegan_tf.data import decode, inspection, stores
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.preprocess import resize
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.threads import map_ahead

_VERSION = 3  # of the files in the disk cache; raise it when decoding changes
_AHEAD = 16  # images that are decoded ahead, for each thread


class ImageTable:
    """The images of a domain at the size to which they are resized, by index.

    Args:
        source: the images.
        headers: the header of each image.
        geometry: gives the size.
        channels: number of channels of the results: 1, 3 or 4, or that of all images.
        skip_bad: leave out an image that turns out to be broken, or replace it by another; otherwise it is an error.

    Attributes:
        dtype: float32 if a value range maps the images; else uint16 if any image has 16 bits, else uint8; images of 8
            bits among images of 16 are scaled up.
        size: (height, width) of all images; None if they differ.
        parts: the numbers of channels of stacked images; empty: each is one image.
        replaced: how often a broken image was replaced by another one after the table was filled.
        failure: the last error that `row` raised, for callers that see only TensorFlow's version of it.
    """

    def __init__(
        self,
        source: Source,
        headers: Sequence[decode.Header],
        geometry: Geometry,
        channels: int,
        skip_bad: bool = False,
    ):
        self._source, self._skip_bad, self._geometry = source, skip_bad, geometry
        self.channels = channels
        self.parts = source.channels
        deep = any(header.bits > 8 for header in headers)
        self.dtype = np.dtype(np.float32 if source.options.raw else np.uint16 if deep else np.uint8)
        sizes = np.array([geometry.loaded(header.width, header.height)[::-1] for header in headers], np.int64)
        self._sizes = sizes  # [n, 2]: height, width
        self._starts = np.concatenate([[0], np.cumsum(sizes[:, 0] * sizes[:, 1] * channels)])
        self._good = np.arange(len(source))
        self.size: Optional[tuple[int, int]] = tuple(map(int, sizes[0])) if (sizes == sizes[0]).all() else None
        self._store: Optional[stores.Store] = None
        self._waiting = np.zeros(len(source), bool)  # images that are stored only when they are first read
        self.replaced = 0
        self.failure: Optional[UserError] = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._good)

    def holds(self, index: int) -> bool:
        """Whether an image is cached now, so that `row` does not decode it."""
        return self._store is not None and not self._waiting[self._good[index]]

    @property
    def bytes_needed(self) -> int:
        """Bytes that a cache of all images needs."""
        return int(self._starts[-1]) * self.dtype.itemsize

    def bytes_stored(self, directory: str) -> int:
        """How many of bytes_needed an earlier run has left in the directory for `keep`."""
        return self.bytes_needed if stores.is_stored(directory, self._key, self.bytes_needed) else 0

    def result_size(self) -> Optional[tuple[int, int]]:
        """(height, width) of the images that the networks get, after the crop; None if it differs."""
        crop = self._geometry.crop_size
        return (crop, crop) if self._geometry.crops else self.size

    def keep(self, where: str, directory: str, threads: int, decoded: Optional[Sequence[bool]] = None) -> list[str]:
        """Decodes all images once and caches them.

        Args:
            where: 'memory' or 'disk'.
            directory: for 'disk'.
            threads: number of threads that decode.
            decoded: for each image whether an earlier start has decoded it, without a problem. With 'memory' it is then
                decoded when it is first read, so that training begins at once. None: no image has been.

        Returns:
            One line for each broken image that is left out.

        Raises:
            UserError: images are broken, and the message lists all of them; with skip_bad only if no image is left.
        """
        if where == 'memory':
            store = stores.MemoryStore(int(self._starts[-1]), self.dtype)
            if decoded is not None:
                self._waiting = np.array(decoded, bool)
            missing = np.flatnonzero(~self._waiting).tolist()
        else:
            store = stores.DiskStore(directory, self._key, int(self._starts[-1]), self.dtype)
            # Images with problems are tried again each time: on a server they may have been unavailable for a moment.
            missing = sorted(store.problems) if store.complete else range(len(self._source))
        if missing:
            self._fill(store, missing, threads)
        lines = [f'{self._source.label(i)}: {problem}' for i, problem in sorted(store.problems.items())]
        if not self._skip_bad or len(lines) == len(self._source):
            inspection.refuse(lines, len(self._source))
        self._good = np.array([i for i in range(len(self._source)) if i not in store.problems])
        self._store = store
        return lines

    def _fill(self, store: stores.Store, indices: Sequence[int], threads: int) -> None:
        def load(index):
            try:
                store.write(int(self._starts[index]), self._decode(index))
            except decode.BadImage as error:
                return index, str(error)

        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            loaded = map_ahead(load, indices, pool, _AHEAD * threads)
            problems = dict(filter(None, progress_bar(loaded, f'Reading {self._source.where}', len(indices))))
        store.finish(problems)

    def row(self, index: int, crop: Optional[tuple[int, int]] = None) -> np.ndarray:
        """One image.

        Args:
            index: from 0.
            crop: two integers in [0, 2**24), which place a square of crop_size between top and bottom and between left
                and right; None: no crop.

        Returns:
            uint8, uint16, or float32 in [-1, 1], [h, w, c]; a view if the images are cached in memory.

        Raises:
            UserError: the image is broken, and skip_bad is false.
        """
        return rows_together([self], index, [crop])[0]

    def _crop(self, image: np.ndarray, crop: Optional[tuple[int, int]]) -> np.ndarray:
        if crop is None:
            return image
        side = self._geometry.crop_size
        top, left = ((number * (length - side + 1)) >> 24 for number, length in zip(crop, image.shape[:2]))
        return image[top : top + side, left : left + side]

    def _try(self, index: int) -> Optional[np.ndarray]:
        """One image; None if it is broken and has to be replaced."""
        place = int(self._good[index])
        start = int(self._starts[place])
        if self._store is not None and not self._waiting[place]:
            return self._store.read(start, (*self._sizes[place], self.channels))
        try:
            image = self._decode(place)
        except decode.BadImage as error:
            if self._skip_bad:
                return None
            raise self._source.error(place, error) from error
        if self._store is not None:
            self._store.write(start, image)
            self._waiting[place] = False  # last, since other threads read what is not waiting
        return image

    def leave_only(self, places: Sequence[int]) -> None:
        """Leaves out all images but those at these places of the source."""
        self._good = np.array(places)

    @property
    def places(self) -> Sequence[int]:
        """The places of the images in the source, in order."""
        return self._good.tolist()

    def _decode(self, place: int) -> np.ndarray:
        """One image of the source, [h, w, c], of this dtype."""
        picture = set_channels(self._source.picture(place), self.channels)
        height, width = self._sizes[place]
        image = decode.to_array(resize(picture, int(width), int(height)))
        if image.dtype == np.uint8 and self.dtype == np.uint16:
            return image.astype(np.uint16) * 257  # 255 becomes 65535
        return image

    @functools.cached_property
    def _key(self) -> str:
        """The name of the cache file: different for other images, sizes, depths or numbers of channels."""
        options = dataclasses.replace(self._source.options, max_pixels=0)  # which changes nothing in what is read
        how = f'{_VERSION} {self.channels} {self.dtype} {self._source.half} {options} '
        how += str(self.parts) if self.parts else ''
        digest = hashlib.sha256(how.encode())
        digest.update(np.ascontiguousarray(self._sizes).tobytes())
        for index in range(len(self._source)):
            digest.update(self._source.stamp(index).encode(errors='surrogateescape') + b'\n')
        return digest.hexdigest()[:32]


def keep_pairs(tables: Sequence[ImageTable]) -> None:
    """Leaves out of each of these tables, of sources whose images belong together, the images that another one lacks.

    Raises:
        UserError: no image is left.
    """
    places = sorted(set.intersection(*(set(table.places) for table in tables)))
    if not places:
        raise UserError('no two images that belong together can be used; replace those that are listed above.')
    for table in tables:
        table.leave_only(places)


def rows_together(
    tables: Sequence[ImageTable], index: int, crops: Sequence[Optional[tuple[int, int]]]
) -> list[np.ndarray]:
    """The images of an index in tables whose images belong together, see ImageTable.row.

    If one of them turns out to be broken, those of the next index that can be used take the place of all: the same ones
    every time.

    Raises:
        UserError: an image is broken, and skip_bad is false, or no others are left.
    """
    place, first = index, tables[0]
    try:
        images = [table._try(place) for table in tables]
        if any(image is None for image in images):
            with first._lock:
                first.replaced += 1
        while any(image is None for image in images):
            place = (place + 1) % len(first)
            if place == index:
                places = ' and '.join(dict.fromkeys(table._source.where for table in tables))
                raise UserError(f'none of the images of {places} can be used any more; put them back.')
            images = [table._try(place) for table in tables]
    except UserError as error:
        first.failure = error
        raise
    return [table._crop(image, crop) for table, image, crop in zip(tables, images, crops)]

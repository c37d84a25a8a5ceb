"""A domain's decoded images by index, at one geometry's sizes; kept where they fit."""

from __future__ import annotations

import concurrent.futures
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

_VERSION = 2  # of what is kept on the disk; raise it when decoding changes
_AHEAD = 16  # images that are decoded ahead, for each thread


class ImageTable:
    """The images of a domain at the size to which they are resized, by index.

    Args:
        source: the images.
        headers: of each of them.
        geometry: to which size.
        channels: of the results: 1, 3 or 4, or what all images have.
        skip_bad: an image that turns out to be broken is left out, or replaced by another; else it is an error.

    Attributes:
        dtype: uint16 where an image has 16 bits, else uint8; images of 8 bits are scaled up beside such of 16.
        size: (height, width) of all images; None where they differ.
        replaced: how often a broken image was replaced by another, once the table was filled.
        failure: the error that `row` raised last, for callers that see only TensorFlow's version of it.
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
        deep = any(header.bits > 8 for header in headers)
        self.dtype = np.dtype(np.uint16 if deep else np.uint8)
        sizes = np.array([geometry.loaded(header.width, header.height)[::-1] for header in headers], np.int64)
        self._sizes = sizes  # [n, 2]: height, width
        self._starts = np.concatenate([[0], np.cumsum(sizes[:, 0] * sizes[:, 1] * channels)])
        self._good = np.arange(len(source))
        self.size: Optional[tuple[int, int]] = tuple(map(int, sizes[0])) if (sizes == sizes[0]).all() else None
        self._store: Optional[stores.Store] = None
        self.replaced = 0
        self.failure: Optional[UserError] = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._good)

    @property
    def cached(self) -> bool:
        """Whether images are kept rather than decoded each time."""
        return self._store is not None

    @property
    def bytes_needed(self) -> int:
        """To keep all images."""
        return int(self._starts[-1]) * self.dtype.itemsize

    def bytes_stored(self, directory: str) -> int:
        """Of bytes_needed, those that an earlier run has left in a directory for `keep`."""
        return self.bytes_needed if stores.is_stored(directory, self._key, self.bytes_needed) else 0

    def result_size(self) -> Optional[tuple[int, int]]:
        """(height, width) of what the networks are given, after the crop; None where it differs."""
        crop = self._geometry.crop_size
        return (crop, crop) if self._geometry.crops else self.size

    def keep(self, where: str, directory: str, threads: int) -> list[str]:
        """Decodes all images once and keeps them.

        Args:
            where: 'memory' or 'disk'.
            directory: for 'disk'.
            threads: that decode.

        Returns:
            One line for each image that turned out to be broken and is left out.

        Raises:
            UserError: images are broken; the message lists all. With skip_bad only if none is left.
        """
        if where == 'memory':
            store = stores.MemoryStore(int(self._starts[-1]), self.dtype)
        else:
            store = stores.DiskStore(directory, self._key, int(self._starts[-1]), self.dtype)
        # Images with problems are tried again each time: they may have been away for a moment, on a server.
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
            crop: numbers in [0, 2**24), by which a square of crop_size is placed between top and bottom, left and
                right; None: the whole image.

        Returns:
            uint8 or uint16 [h, w, c]; a view of what is kept in memory.

        Raises:
            UserError: it is broken, and skip_bad was not asked for.
        """
        try:
            image, place = self._try(index), index
            if image is None:
                # The next one that is whole: the same whenever this image is asked for.
                with self._lock:
                    self.replaced += 1
                while image is None:
                    place = (place + 1) % len(self)
                    if place == index:
                        raise UserError(f'none of the images of {self._source.where} can be used any more.')
                    image = self._try(place)
        except UserError as error:
            self.failure = error
            raise
        if crop is None:
            return image
        side = self._geometry.crop_size
        top, left = ((number * (length - side + 1)) >> 24 for number, length in zip(crop, image.shape[:2]))
        return image[top : top + side, left : left + side]

    def _try(self, index: int) -> Optional[np.ndarray]:
        """One image; None if it is broken and such are replaced."""
        place = int(self._good[index])
        if self._store is not None:
            return self._store.read(int(self._starts[place]), (*self._sizes[place], self.channels))
        try:
            return self._decode(place)
        except decode.BadImage as error:
            if self._skip_bad:
                return None
            raise self._source.error(place, error) from error

    def _decode(self, place: int) -> np.ndarray:
        """One image of the source, uint8 or uint16 [h, w, c]."""
        picture = set_channels(self._source.picture(place), self.channels)
        height, width = self._sizes[place]
        image = decode.to_array(resize(picture, int(width), int(height)))
        if image.dtype == np.uint8 and self.dtype == np.uint16:
            return image.astype(np.uint16) * 257  # 255 becomes 65535
        return image

    @functools.cached_property
    def _key(self) -> str:
        """Names what is kept: another one for any other image, size, depth or number of channels."""
        digest = hashlib.sha256(f'{_VERSION} {self.channels} {self.dtype} {self._source.half} '.encode())
        digest.update(np.ascontiguousarray(self._sizes).tobytes())
        for index in range(len(self._source)):
            digest.update(self._source.stamp(index).encode() + b'\n')
        return digest.hexdigest()[:32]

"""Decoding and resizing ahead of the stream: tables of uint8 images; uint8 <-> [-1, 1]."""

from __future__ import annotations

import concurrent.futures
import os

import numpy as np
from PIL import Image
from tqdm import tqdm

from cyclegan_tf.data.sources import MODES, Source
from cyclegan_tf.errors import UserError

CACHE_SHARE = 0.25  # of the machine's memory, for each of the two domains


class ImageTable:
    """All images of a source, resized to a square, by index.

    Every image is decoded once, before training, which finds the broken ones; the result is kept in memory where it
    takes at most `cache_bytes`, else images are decoded again whenever they are asked for.

    Args:
        source: the images.
        size: side of the square in pixels; bicubic and antialiased as Pillow does it, which is the reference's way.
        channels: 1, 3 or 4.
        threads: that decode.
        cache_bytes: limit of the memory kept; None: a quarter of the machine's.

    Raises:
        UserError: images that cannot be decoded (the message names the first and counts them), or channels that no
            image has.
    """

    def __init__(self, source: Source, size: int, channels: int, threads: int, cache_bytes: int | None = None):
        if channels not in MODES:
            raise UserError(f'input_nc or output_nc ({channels}) is not 1 (gray), 3 (colour) or 4 (with alpha).')
        if cache_bytes is None:
            cache_bytes = int(CACHE_SHARE * os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))
        self._source, self._size, self._channels = source, size, channels
        self.shape = (size, size, channels)
        self._cache = None
        if len(source) * size * size * channels <= cache_bytes:
            self._cache = np.empty((len(source), *self.shape), np.uint8)
        self._load_all(threads)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def cached(self) -> bool:
        """Whether the images are kept in memory."""
        return self._cache is not None

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Integers [n] -> uint8 [n, size, size, channels]."""
        if self._cache is not None:
            return self._cache[indices]
        return np.stack([self._load(int(index)) for index in indices])

    def _load(self, index: int) -> np.ndarray:
        image = self._source.read(index, self._channels).resize((self._size, self._size), Image.BICUBIC)
        return np.asarray(image).reshape(self.shape)

    def _load_all(self, threads: int) -> None:
        def load(index):
            try:
                image = self._load(index)
            except UserError as error:
                return error
            if self._cache is not None:
                self._cache[index] = image

        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            # disable=None: no bar where standard error is no terminal.
            results = tqdm(
                pool.map(load, range(len(self))), f'Reading {self._source.where}', len(self), leave=False, disable=None
            )
            errors = [error for error in results if error is not None]
        if len(errors) > 1:
            raise UserError(f'{len(errors)} of {len(self)} images are broken; the first: {errors[0]}')
        if errors:
            raise errors[0]


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 in [-1, 1]."""
    return (2 * images.astype(np.float32) - 255) / 255


def to_uint8(images: np.ndarray) -> np.ndarray:
    """float in [-1, 1] -> uint8 0..255, rounded; values outside are clipped.

    Departs from the reference: it cuts the fraction off, which darkens every image by half a level.
    """
    return np.clip(np.round((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)

"""How a generator computes outside training where it does as pix2pix's authors do: with the statistics of the image
itself, and with dropout."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Optional

import tensorflow as tf

from cyclegan_tf.ops import random


@dataclasses.dataclass(frozen=True)
class TestTime:
    """What a call of a generator outside training is told besides the images.

    Attributes:
        size: int32 [2], height and width of the images without their padding.
        padded: int32 [2], height and width of the images as the network gets them.
        batch_statistics: whether batch norms use the statistics of each image, over its own pixels without padding,
            instead of the running ones.
        dropout_seeds: int32 [b, 2], a seed for each image; None: no dropout.
        origin: int32 [2], row and column of the first pixel in the complete image, of which this may be a tile. They
            are multiples of the network's side_multiple.
        kept_statistics: float32 scalar, the share that norms with stored statistics keep of the former ones when they
            store new ones; None: nothing.
    """

    __test__ = False  # not a test, although its name looks like one to pytest

    size: tf.Tensor
    padded: tf.Tensor
    batch_statistics: bool
    dropout_seeds: Optional[tf.Tensor]
    origin: tf.Tensor
    kept_statistics: Optional[tf.Tensor] = None

    def own_pixels(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Where feature maps [b, h, w, c] show the image and not its padding.

        Returns:
            1 there and 0 elsewhere, [1, h, w, 1] of x's dtype; and the number of ones, of this dtype.
        """
        sides = tf.shape(x, tf.int64)[1:3]
        size, padded = tf.cast(self.size, tf.int64), tf.cast(self.padded, tf.int64)
        own = (size * sides + padded - 1) // padded  # pixels that are partly padding are own ones
        inside = (tf.range(sides[0]) < own[0])[:, None] & (tf.range(sides[1]) < own[1])[None]
        return tf.cast(inside, x.dtype)[None, ..., None], tf.cast(tf.reduce_prod(own), x.dtype)

    def dropout(self, x: tf.Tensor, rate: float, index: int) -> tf.Tensor:
        """Dropout of feature maps [b, h, w, c] that depends on each image's seed, the layer's index and the place in
        the complete image alone, so that tiles fit together."""
        if self.dropout_seeds is None:
            return x
        sides = tf.shape(x)[1:3]
        first = tf.cast(self.origin, tf.int64) * tf.cast(sides, tf.int64) // tf.cast(self.padded, tf.int64)
        first = tf.cast(first, tf.int32)
        rows, columns = (first[axis] + tf.range(sides[axis]) for axis in (0, 1))
        numbers = random.at_places(random.of_layer(self.dropout_seeds, index), rows, columns, x.shape[-1])
        return tf.where(numbers < int(rate * 2**24), tf.zeros_like(x), x / (1 - rate))


_active: contextvars.ContextVar[Optional[TestTime]] = contextvars.ContextVar('test_time', default=None)


def active() -> Optional[TestTime]:
    """What the generator that is being called is told; None in training, and where nothing is."""
    return _active.get()


@contextlib.contextmanager
def told(how: TestTime) -> Iterator[None]:
    """A context in which generators are called, or traced, with this."""
    before = _active.set(how)
    try:
        yield
    finally:
        _active.reset(before)

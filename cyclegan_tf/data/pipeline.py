"""The stream of training batches: (real_a, real_b) of every step as a function of (seed, step) alone, in shards."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.data import augment
from cyclegan_tf.data.table import ImageTable, rows_together
from cyclegan_tf.errors import UserError

# What random integers are used for; each use gets its own seed.
_ORDER, _PARTNER, _CROP_A, _CROP_B, _POLICY_A, _POLICY_B = range(6)

# Several steps go through the graph together: fewer calls, the same batches.
_BLOCK = 16  # maximum number of images of a domain
_BLOCK_BYTES = 2**24  # maximum size of their float32 results


def epoch_images(table_a: ImageTable, table_b: ImageTable) -> int:
    """Images per domain in an epoch: as many as the larger domain has."""
    return max(len(table_a), len(table_b))


def steps_per_epoch(table_a: ImageTable, table_b: ImageTable, batch_size: int) -> int:
    """Steps in an epoch, the last one filled up with images of the next epoch."""
    # Departs from the reference: the last batch of its epochs is smaller, which would be another shape to compile for.
    return -(-epoch_images(table_a, table_b) // batch_size)


@dataclasses.dataclass(frozen=True)
class Unjittered:
    """The images of A and B at the size of the crop, for the epochs in which nothing is cropped at random any more.

    Attributes:
        table_a, table_b: as many images as Stream's tables have, squares of crop_size.
        epochs: number of epochs before these.
    """

    table_a: ImageTable
    table_b: ImageTable
    epochs: int


class Stream:
    """An endless stream of batches, which can start at any step.

    Nothing is replayed: starting late costs the same as starting at 0 and gives the same batches. The stream continues
    across epochs, and each epoch is a shuffled pass over the larger domain. The partners from B are chosen at random
    (the index into A is taken modulo A's size), or with serial_batches both domains are read in order. Where images are
    cached has no influence.

    Args:
        table_a, table_b: the images.
        batch_size: images per domain in a step, over all workers.
        crop_size: side of the random crop; None: no crop, and batch_size has to be 1 if sizes differ.
        seed: determines the order, the partners, crops, flips and the policies' random changes.
        aligned: image i of A belongs to image i of B; both are chosen, cropped and flipped together.
        serial_batches: read the images in order instead of at random.
        flip: flip half of the images left to right.
        augment_policy: 'none' or one of policies.POLICIES.
        threads: number of threads that read images which are not cached.
        worker, workers: the index of this worker, and the number of workers; each takes an equal share of every batch,
            in order.
        unjittered: the images of later epochs; None: those of the tables in all epochs.

    Raises:
        UserError: batch_size cannot be divided among the workers.
    """

    def __init__(
        self,
        table_a: ImageTable,
        table_b: ImageTable,
        batch_size: int,
        crop_size: Optional[int],
        seed: int,
        aligned: bool = False,
        serial_batches: bool = False,
        flip: bool = True,
        augment_policy: str = 'none',
        threads: int = 2,
        worker: int = 0,
        workers: int = 1,
        unjittered: Optional[Unjittered] = None,
    ):
        if batch_size % workers:
            raise UserError(
                f'`batch_size` ({batch_size}) cannot be divided among {workers} workers; set it to a multiple.'
            )
        self._tables = tables = (table_a, table_b)
        self._batch_size, self._crop_size, self._seed = batch_size, crop_size, seed
        self._aligned, self._serial_batches, self._threads = aligned, serial_batches, threads
        self._share = batch_size // workers
        self._rows = slice(worker * self._share, (worker + 1) * self._share)
        self._unjittered = unjittered
        # Images that differ in size before the crop, also from epoch to epoch, are cropped when they are read.
        self._crops_in_graph = [table.size is not None and unjittered is None for table in tables]
        self._policies = [_policy(augment_policy, table.channels, table.parts) for table in tables]
        self._augment = [
            augment.make_augment(crop_size, flip, policy, jit_compile=crop_size is not None or table.size is not None)
            for policy, table in zip(self._policies, tables)
        ]
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self._one_step = tf.function(lambda step: self._results(step, 1), autograph=False)

    def batch(self, step: int) -> tuple[tf.Tensor, tf.Tensor]:
        """This worker's (real_a, real_b) of one step: as from_step's, but for rounding (XLA compiles other parts)."""
        return self._one_step(tf.constant(step, tf.int64))

    def from_step(self, step: int = 0) -> tf.data.Dataset:
        """This worker's batches for the steps step, step + 1, ...

        Returns:
            A data set of (real_a, real_b), float32 [batch_size / workers, h, w, c] in [-1, 1].
        """
        steps = self._steps_in_block()
        blocks = tf.data.Dataset.range(step // steps, np.iinfo(np.int64).max // (steps * self._batch_size))
        plain = tf.autograph.experimental.do_not_convert  # AutoGraph would search long for something to rewrite
        stream = blocks.map(plain(lambda block: self._choose(block * steps, steps)), num_parallel_calls=2)
        stream = stream.map(plain(lambda *chosen: self._read(*chosen, steps)), num_parallel_calls=2)
        stream = stream.map(plain(self._finish), num_parallel_calls=2)
        if steps > 1:
            split = lambda x: tf.reshape(x, [steps, self._share, *x.shape[1:]])  # noqa: E731
            stream = stream.map(plain(lambda a, b: (split(a), split(b)))).unbatch().skip(step % steps)
        return untuned(stream.prefetch(2))

    def _steps_in_block(self) -> int:
        """How many steps go through the graph together."""
        sizes = [table.result_size() for table in self._tables]
        # What runs outside of XLA rounds differently in batches of another size.
        plain = any(policy is not None and not policy.compiles for policy in self._policies)
        if None in sizes or plain:
            return 1
        largest = max(4 * table.channels * math.prod(size) for table, size in zip(self._tables, sizes))
        return max(1, min(_BLOCK, _BLOCK_BYTES // largest) // self._batch_size)

    def _results(self, step: tf.Tensor, steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """This worker's images of some steps, float32 [steps * share, h, w, c] each."""
        return self._finish(*self._read(*self._choose(step, steps), steps))

    def _choose(self, step: tf.Tensor, steps: int) -> tuple[tf.Tensor, ...]:
        """The images' indices, int64 [steps * share] for each domain; which of them are in epochs without jitter, bool
        [steps * share]; and random integers, int32 [steps * share, n] for each domain."""
        table_a, table_b = self._tables
        count, images = steps * self._batch_size, epoch_images(table_a, table_b)
        first = step * self._batch_size
        position = first + tf.range(count, dtype=tf.int64)
        if self._serial_batches:
            index = position % images
            index_a, index_b = index % len(table_a), index % len(table_b)
        else:
            index = _shuffled(position, images, count, self._seed)
            index_a = index_b = index % len(table_a)
            if not self._aligned:
                index_b = _below(
                    augment.random_integers(_use_seed(self._seed, _PARTNER), first, count, 2), len(table_b)
                )
        uses = ((_CROP_A, _POLICY_A), (_CROP_A, _POLICY_A) if self._aligned else (_CROP_B, _POLICY_B))
        numbers = [self._numbers(first, count, policy, *use) for policy, use in zip(self._policies, uses)]
        is_late = tf.zeros_like(position, tf.bool)
        if self._unjittered is not None:
            is_late = position // images >= self._unjittered.epochs
        return tuple(self._local_rows(x, steps) for x in (index_a, index_b, is_late, *numbers))

    def _numbers(self, first: tf.Tensor, count: int, policy, crop_use: int, policy_use: int) -> tf.Tensor:
        # Generated from two seeds, so that a policy does not change the crops.
        result = augment.random_integers(_use_seed(self._seed, crop_use), first, count, augment.NUMBERS)
        if policy is None:
            return result
        return tf.concat(
            [result, augment.random_integers(_use_seed(self._seed, policy_use), first, count, policy.num_random)],
            axis=1,
        )

    def _local_rows(self, x: tf.Tensor, steps: int) -> tf.Tensor:
        """This worker's rows of each step's batch: [steps * batch, ...] -> [steps * share, ...]."""
        x = tf.reshape(x, [steps, self._batch_size, *x.shape[1:]])[:, self._rows]
        return tf.reshape(x, [steps * self._share, *x.shape[2:]])

    def _read(self, index_a, index_b, is_late, numbers_a, numbers_b, steps: int) -> tuple[tf.Tensor, ...]:
        dtypes = [tf.as_dtype(table.dtype) for table in self._tables]
        chosen = [index_a, index_b, is_late, numbers_a, numbers_b]
        loaded = tf.numpy_function(self._load, chosen, dtypes, stateful=False)
        images = []
        for x, table, in_graph in zip(loaded, self._tables, self._crops_in_graph):
            height, width = table.size or (None, None)
            if self._crop_size is not None and not in_graph:
                height = width = self._crop_size
            images.append(tf.ensure_shape(x, [steps * self._share, height, width, table.channels]))
        return (*images, numbers_a, numbers_b)

    def _load(self, index_a, index_b, is_late, numbers_a, numbers_b) -> tuple[np.ndarray, np.ndarray]:
        def crop(in_graph, numbers):
            return None if self._crop_size is None or in_graph else (int(numbers[0]), int(numbers[1]))

        def tables_of(k):
            return (self._unjittered.table_a, self._unjittered.table_b) if is_late[k] else self._tables

        def is_held(k):
            return all(table.holds(int(index[k])) for table, index in zip(tables_of(k), (index_a, index_b)))

        def pair(k):
            # One thread reads both images of a pair, so that two halves of one image are decoded once.
            tables = tables_of(k)
            crops = [crop(*one) for one in zip(self._crops_in_graph, (numbers_a[k], numbers_b[k]))]
            if self._aligned:
                return rows_together(tables, int(index_a[k]), crops)
            return [table.row(int(index[k]), one) for table, index, one in zip(tables, (index_a, index_b), crops)]

        # Images that are held need no threads, which take longer than to copy them.
        count = range(len(index_a))
        pairs = (map if len(count) == 1 or all(map(is_held, count)) else self._pool.map)(pair, count)
        return tuple(np.stack(rows) for rows in zip(*pairs))

    def _finish(self, a, b, numbers_a, numbers_b) -> tuple[tf.Tensor, tf.Tensor]:
        return self._augment[0](a, numbers_a), self._augment[1](b, numbers_b)


def untuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    """The stream without autotuning.

    The thread that tunes sometimes misses that its iterator ends. Ending the iterator then takes until the thread looks
    again, up to a minute: TensorFlow wakes the thread before it sets the flag that the thread looks at.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.with_options(options)


def _policy(name: str, channels: int, parts: Sequence[int]):
    if name == 'none':
        return None
    from cyclegan_tf.data import policies  # this imports KerasCV, which takes seconds

    return policies.make_policy(name, channels, parts)


def _shuffled(position: tf.Tensor, images: int, count: int, seed: int) -> tf.Tensor:
    """Positions in the stream, int64 [count] without gaps -> image indices, by another permutation in each epoch."""
    epoch = position // images
    last = tf.constant(images - 1, tf.int64)
    result = tf.zeros_like(position)
    # The permutation is computed index by index, without a buffer; a vector of indices can only have a single seed.
    for i in range((count - 1) // images + 2):
        current = epoch[0] + i
        shuffled = tf.random.experimental.index_shuffle(position % images, [_use_seed(seed, _ORDER), current], last)
        result = tf.where(epoch == current, shuffled, result)
    return result


def _below(numbers: tf.Tensor, bound: int) -> tf.Tensor:
    """Pairs of integers in [0, 2**24) -> int64 in [0, bound), evenly distributed for any bound in use."""
    numbers = tf.cast(numbers, tf.int64)
    return (numbers[:, 0] * 2**24 + numbers[:, 1]) % bound


def _use_seed(seed: int, use: int) -> tf.Tensor:
    """A seed for one use of random integers, int64; all seeds and uses give different ones."""
    return tf.constant(seed * 8 + use, tf.int64)

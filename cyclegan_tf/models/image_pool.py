"""The history of fakes that the discriminators are shown: Shrivastava et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cyclegan_tf.ops import random


class ImagePool(tf.Module):
    """Keeps `size` fakes of one domain; answers a batch of new ones with new and old ones.

    Each image in turn: while the pool is not full it is stored and returned; then, with probability 1/2, a stored one
    is returned and the new one takes its place, else the new one is returned.

    The history lives in variables, so that the pool works inside a compiled step and a checkpoint holds it. There is
    one pool for the global batch, alike on every replica: each replica gathers all fakes, makes the same draws, and
    takes its own rows of the answer.

    Args:
        size: images kept; 0 switches the pool off.
        image_shape: (height, width, channels).
        dtype: of the images.
    """

    def __init__(self, size: int, image_shape: Sequence[int], dtype: tf.DType = tf.float32):
        super().__init__()
        self._size = size
        if size:
            shared = {
                'trainable': False,
                'synchronization': tf.VariableSynchronization.ON_WRITE,
                'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA,
            }
            self.images = tf.Variable(tf.zeros([size, *image_shape], dtype), **shared)
            # Not int32, whose variables TensorFlow keeps off GPUs, out of the reach of a step that XLA compiled there.
            self.count = tf.Variable(0, dtype=tf.int64, **shared)

    def query(self, fakes: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Stores and answers; inside a replica, or on one device.

        Args:
            fakes: float [replica_batch, h, w, c], this replica's new images.
            seed: int32 [2], the same on every replica and another at every step.

        Returns:
            float [replica_batch, h, w, c]. No gradient flows through it.
        """
        fakes = tf.stop_gradient(fakes)
        if not self._size:
            return fakes
        replica = tf.distribute.get_replica_context()
        rows = tf.shape(fakes)[0]
        several = replica is not None and replica.num_replicas_in_sync > 1
        everyone = replica.all_gather(fakes, axis=0) if several else fakes  # [global_batch, h, w, c]
        replicas = replica.num_replicas_in_sync if several else 1
        slots, count, answers = self._query(int(fakes.shape[0]) * replicas, seed)
        known = tf.concat([self.images, everyone], axis=0)
        # Both gathers read `known`, a copy, so that the assignment cannot overtake them.
        answer = tf.gather(known, answers)
        self.images.assign(tf.gather(known, slots))
        self.count.assign(tf.cast(count, tf.int64))
        if several:
            first = replica.replica_id_in_sync_group * rows
            answer = answer[first : first + rows]
        return tf.ensure_shape(answer, fakes.shape)

    def _query(self, batch: int, seed: tf.Tensor):
        """Plays the batch through in indices: 0 .. size-1 are the stored images, size + i the batch's i-th.

        Returns:
            slots, int32 [size]: what each place holds afterwards; count, int32: places filled; answers, int32 [batch].
        """
        seeds = random.split(seed, 2)
        coins, places = random.integers([batch], seeds[0], 2), random.integers([batch], seeds[1], self._size)
        slots = tf.range(self._size)
        count = tf.cast(self.count.read_value(), tf.int32)
        answers = []
        for i in range(batch):
            new = self._size + i
            filling = count < self._size
            swap = tf.logical_and(tf.logical_not(filling), coins[i] == 1)
            place = tf.where(filling, count, places[i])
            # No slice, whose bounds XLA takes for constants, and compiles anew for others.
            answers.append(tf.where(swap, tf.gather(slots, place), new))
            slots = tf.where((tf.range(self._size) == place) & (filling | swap), new, slots)
            count += tf.cast(filling, tf.int32)
        return slots, count, tf.stack(answers)

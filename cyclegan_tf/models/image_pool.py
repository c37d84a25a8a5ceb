"""The history of fake images from which the discriminators learn: Shrivastava et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cyclegan_tf.ops import random


class ImagePool(tf.Module):
    """Stores up to `size` fakes of one domain, and returns a mix of new and stored ones for each batch of new ones.

    The images are processed in turn. While the pool is not full, an image is stored and returned. After that, with
    probability 1/2, a random stored image is returned and replaced by the new one; otherwise the new one is returned.

    The history is held in variables, so that the pool works inside a compiled step and is saved in checkpoints. There
    is one pool for the global batch, identical on every replica: each replica gathers all fakes, makes the same random
    choices, and takes its own rows of the result.

    Args:
        size: number of images in the pool; 0 disables it.
        image_shape: (height, width, channels).
        dtype: dtype of the images.
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
            # Not int32: TensorFlow keeps int32 variables off GPUs, where a step that XLA compiled cannot reach them.
            self.count = tf.Variable(0, dtype=tf.int64, **shared)

    def query(self, fakes: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Adds fakes to the pool, and returns images from it; to be called in replica context, or on one device.

        Args:
            fakes: float [replica_batch, h, w, c], this replica's new images.
            seed: int32 [2], the same on every replica and different in every step.

        Returns:
            float [replica_batch, h, w, c]. No gradient flows through it.
        """
        fakes = tf.stop_gradient(fakes)
        if not self._size:
            return fakes
        replica = tf.distribute.get_replica_context()
        rows = tf.shape(fakes)[0]
        several = replica is not None and replica.num_replicas_in_sync > 1
        all_fakes = replica.all_gather(fakes, axis=0) if several else fakes  # [global_batch, h, w, c]
        replicas = replica.num_replicas_in_sync if several else 1
        slots, count, choices = self._query(int(fakes.shape[0]) * replicas, seed)
        candidates = tf.concat([self.images, all_fakes], axis=0)
        # Both gathers read `candidates`, a copy, so that the assignment cannot overtake them.
        result = tf.gather(candidates, choices)
        self.images.assign(tf.gather(candidates, slots))
        self.count.assign(tf.cast(count, tf.int64))
        if several:
            first = replica.replica_id_in_sync_group * rows
            result = result[first : first + rows]
        return tf.ensure_shape(result, fakes.shape)

    def _query(self, batch: int, seed: tf.Tensor):
        """Processes a batch by indices: 0 .. size-1 are the stored images, size + i is the batch's i-th image.

        Returns:
            slots, int32 [size]: the image in each slot afterwards; count, int32: number of filled slots; choices, int32
            [batch]: the images to return.
        """
        seeds = random.split(seed, 2)
        coins, random_slots = random.integers([batch], seeds[0], 2), random.integers([batch], seeds[1], self._size)
        slots = tf.range(self._size)
        count = tf.cast(self.count.read_value(), tf.int32)
        choices = []
        for i in range(batch):
            new = self._size + i
            filling = count < self._size
            swap = tf.logical_and(tf.logical_not(filling), coins[i] == 1)
            slot = tf.where(filling, count, random_slots[i])
            # Not a slice: XLA treats its bounds as constants and compiles again when they change.
            choices.append(tf.where(swap, tf.gather(slots, slot), new))
            slots = tf.where((tf.range(self._size) == slot) & (filling | swap), new, slots)
            count += tf.cast(filling, tf.int32)
        return slots, count, tf.stack(choices)

"""CUT's F: makes the features of a generator's layers comparable, at chosen positions (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.initializers import Initializers
from cyclegan_tf.networks.precision import full_precision
from cyclegan_tf.ops import random

NORM_EPSILON = 1e-7  # of the PyTorch program's Normalize
PATCH_FEATURES = ('mlp_sample', 'sample')


class PatchFeatures(tf.keras.Model):
    """Vectors of length 1 for positions of feature maps.

    It computes in float32 or wider whatever the precision of the maps, which costs little for a few hundred positions.

    Args:
        channels: number of channels of each map.
        units: length of the vectors that a perceptron gives.
        use_mlp: two linear layers with a ReLU between them for each map; False: the vectors are those of the maps.
        initializers: makes the initializers of the weights.

    Call: maps, float [b, h, w, c] each, and positions, int32 [n] each, into the h * w places of a map, row by row ->
    float [b, n, units] (or [b, n, c]) for each map.
    """

    def __init__(self, channels, units, use_mlp, initializers, **kwargs):
        super().__init__(**kwargs)
        self._use_mlp = use_mlp
        self.firsts = [self._linear(units, initializers) for _ in channels] if use_mlp else []
        self.seconds = [self._linear(units, initializers) for _ in channels] if use_mlp else []
        for count, first, second in zip(channels, self.firsts, self.seconds):
            first.build([None, count])
            second.build([None, units])
        self.built = True

    @staticmethod
    def _linear(units, initializers):
        return tf.keras.layers.Dense(units, kernel_initializer=initializers.kernel(), dtype=tf.keras.backend.floatx())

    def call(self, maps, positions, training=False):
        result = []
        for i, (x, places) in enumerate(zip(maps, positions)):
            vectors = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]])  # [b, h * w, c]
            vectors = full_precision(tf.gather(vectors, places, axis=1))  # [b, n, c]
            if self._use_mlp:
                vectors = self.seconds[i](tf.nn.relu(self.firsts[i](vectors)))
            result.append(to_unit_length(vectors))
        return result


def to_unit_length(vectors: tf.Tensor) -> tf.Tensor:
    """[..., d] -> the same, divided by its length along the last axis.

    Departs from the reference: a vector of zeros has the gradient 0, where PyTorch's is not a number.
    """
    squares = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    known = squares > 0
    lengths = tf.where(known, tf.sqrt(tf.where(known, squares, tf.ones_like(squares))), tf.zeros_like(squares))
    return vectors / (lengths + tf.constant(NORM_EPSILON, vectors.dtype))


def choose_positions(seed: tf.Tensor, total: Union[int, tf.Tensor], count: int) -> tf.Tensor:
    """The first `count` of a random permutation of `total` positions, or all of them if there are fewer: int32 [n].

    The permutation is the order of random integers, equal ones in their order, since TensorFlow's own shuffling from
    seeds cannot be compiled by XLA.

    Args:
        seed: int32 [2].
        total: number of positions.
        count: number of positions to choose.
    """
    order = tf.argsort(random.integers([total], seed), stable=True)
    return order[:count]


def make_patch_features(
    name: str,
    channels: Sequence[int],
    units: int = 256,
    init_type: str = 'xavier',
    init_gain: float = 0.02,
    seed: Optional[int] = None,
) -> PatchFeatures:
    """Builds F and initialises its weights; biases are 0.

    Args:
        name: 'mlp_sample', or 'sample', which has no weights.
        channels: number of channels of each map.
        units: length of the vectors of mlp_sample.
        init_type, init_gain, seed: as for make_generator.

    Raises:
        UserError: the name or the init_type is unknown.
    """
    if name not in PATCH_FEATURES:
        raise UserError(f"patch features '{name}' is not one of: {', '.join(PATCH_FEATURES)}.")
    return PatchFeatures(channels, units, name == 'mlp_sample', Initializers(init_type, init_gain, seed))

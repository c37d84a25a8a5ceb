"""Initial weights of networks, distributed as in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError


class Initializers:
    """Makes an initializer for each layer of a network, all derived from one seed.

    Args:
        init_type: 'normal', 'xavier', 'kaiming' or 'orthogonal' (the reference's init_net).
        init_gain: the standard deviation of 'normal', the gain of 'xavier' and 'orthogonal'; 'kaiming' ignores it.
        seed: None, or an integer that fixes every weight of the network.
    """

    TYPES = ('normal', 'xavier', 'kaiming', 'orthogonal')

    def __init__(self, init_type: str, init_gain: float, seed: Optional[int]):
        if init_type not in self.TYPES:
            raise UserError(f"init_type '{init_type}' is not one of: {', '.join(self.TYPES)}.")
        self._init_type = init_type
        self._init_gain = init_gain
        self._seeds = np.random.default_rng(seed)

    def next_seed(self) -> int:
        """A seed for whatever else of the network is random."""
        return int(self._seeds.integers(2**31))

    def kernel(self) -> tf.keras.initializers.Initializer:
        """The initializer of the kernel of a (transposed) convolution or a linear layer.

        Fans are PyTorch's: kernel area times channels.
        """
        seed = self.next_seed()
        if self._init_type == 'normal':
            return tf.keras.initializers.RandomNormal(0.0, self._init_gain, seed)
        if self._init_type == 'orthogonal':
            return tf.keras.initializers.Orthogonal(self._init_gain, seed)
        # PyTorch's normal distributions are not truncated; Keras's GlorotNormal and HeNormal are, at two deviations.
        scale, mode = (self._init_gain**2, 'fan_avg') if self._init_type == 'xavier' else (2.0, 'fan_in')
        return tf.keras.initializers.VarianceScaling(scale, mode, 'untruncated_normal', seed)

    def norm_scale(self) -> tf.keras.initializers.Initializer:
        """The initializer of batch norm's scale: N(1, init_gain) with every init_type (the reference's init_func)."""
        return tf.keras.initializers.RandomNormal(1.0, self._init_gain, self.next_seed())


def build(network: tf.keras.Model, shape: Sequence[int]) -> None:
    """Creates a network's weights by running it once on zeros of this shape, [b, h, w, c].

    Keras's own build would trace the network and have AutoGraph rewrite it, which takes three times as long.
    """
    network(tf.zeros(shape, tf.keras.backend.floatx()))

"""Resampling behind a blur, which keeps details from turning into coarse patterns (Zhang 2019, as in CUT)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cyclegan_tf.networks.layers import pad_reflect
from cyclegan_tf.networks.shapes import sides
from cyclegan_tf.ops.ordering import inside_xla


class Down(tf.keras.layers.Layer):
    """Halves the sides of feature maps: mirrors one pixel around them, blurs by [1, 2, 1] / 4 along both axes, and
    takes every second pixel.

    Input: float [b, h, w, c], sides at least 2. Output: [b, (h + 1) // 2, (w + 1) // 2, c].
    """

    TAPS = (0.25, 0.5, 0.25)

    def build(self, input_shape):
        self._channels = int(input_shape[-1])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = pad_reflect(x, 1)
        if not inside_xla():
            kernel = tf.constant(np.outer(self.TAPS, self.TAPS)[..., None, None], x.dtype)
            return tf.nn.depthwise_conv2d(x, tf.repeat(kernel, x.shape[-1], axis=2), [1, 2, 2, 1], 'VALID')
        # On CPUs, XLA's depthwise convolution takes forty times as long as this.
        for axis in (1, 2):
            length = 2 * ((sides(x)[axis] - 1) // 2)  # of the pixels that are used, without the last one
            before, middle, after = (
                _strided(x, axis, start, stop) for start, stop in ((0, length), (1, length), (2, length + 1))
            )
            x = self.TAPS[0] * before + self.TAPS[1] * middle + self.TAPS[2] * after
        return x

    @property
    def filter(self) -> np.ndarray:
        """The blur as the PyTorch program stores it, float32 [c, 1, 3, 3]."""
        return _as_stored(np.outer(self.TAPS, self.TAPS), self._channels)


class Up(tf.keras.layers.Layer):
    """Doubles the sides of feature maps: between two pixels, a quarter and three quarters of them; the border is
    repeated.

    This is the PyTorch program's transposed convolution with the blur [1, 3, 3, 1] / 4 along both axes, whose first and
    last results are dropped. It is computed in two phases, the even and the odd pixels, since XLA's transposed
    depthwise convolution takes sixty times as long on CPUs.

    Input: float [b, h, w, c]. Output: [b, 2 * h, 2 * w, c].
    """

    TAPS = (0.25, 0.75, 0.75, 0.25)

    def build(self, input_shape):
        self._channels = int(input_shape[-1])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        far, near = self.TAPS[:2]
        b, h, w, c = sides(x)
        middle, others = near * x, far * tf.concat([x[:, :1], x, x[:, -1:]], axis=1)
        y = tf.stack([others[:, :-2] + middle, others[:, 2:] + middle], axis=2)  # [b, h, 2, w, c]
        y = tf.reshape(y, [b, 2 * h, w, c])
        middle, others = near * y, far * tf.concat([y[:, :, :1], y, y[:, :, -1:]], axis=2)
        y = tf.stack([others[:, :, :-2] + middle, others[:, :, 2:] + middle], axis=3)  # [b, 2h, w, 2, c]
        return tf.reshape(y, [b, 2 * h, 2 * w, c])

    @property
    def filter(self) -> np.ndarray:
        """The blur as the PyTorch program stores it, float32 [c, 1, 4, 4]."""
        return _as_stored(np.outer(self.TAPS, self.TAPS), self._channels)


def _strided(x: tf.Tensor, axis: int, start: int, stop) -> tf.Tensor:
    return x[:, start:stop:2] if axis == 1 else x[:, :, start:stop:2]


def _as_stored(blur: np.ndarray, channels: int) -> np.ndarray:
    return np.tile(blur.astype(np.float32), (channels, 1, 1, 1))

"""Normalisation, as PyTorch computes it."""

from __future__ import annotations

import functools
import warnings
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.initializers import Initializers
from cyclegan_tf.networks.kernels.instance_norm import normalise_images
from cyclegan_tf.networks.precision import full_precision

NORM_EPSILON = 1e-5  # torch.nn.InstanceNorm2d and BatchNorm2d, default eps
BATCH_NORM_MOMENTUM = 0.9  # torch.nn.BatchNorm2d's momentum is 0.1, counted from the other side


class BatchNorm(tf.keras.layers.Layer):
    """Batch normalisation over all replicas that keeps running statistics as torch.nn.BatchNorm2d does.

    In training the biased variance normalises and the unbiased one, n / (n - 1) times it, enters the running
    variance, in every precision. Of Keras's own layer only the fused float32 form does so, and its synchronised form
    is biased.

    Input and output: float [b, h, w, c].
    """

    def __init__(self, scale_initializer: tf.keras.initializers.Initializer, **kwargs):
        super().__init__(dtype=tf.keras.backend.floatx(), autocast=False, **kwargs)
        self._scale_initializer = scale_initializer

    def build(self, input_shape):
        channels = [int(input_shape[-1])]
        self.scale = self.add_weight('scale', channels, initializer=self._scale_initializer)
        self.offset = self.add_weight('offset', channels, initializer='zeros')
        # Every replica computes the same update and keeps its own, so that a function on one device can do it too.
        running = {
            'trainable': False,
            'synchronization': tf.VariableSynchronization.ON_READ,
            'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.running_mean = self.add_weight('running_mean', channels, initializer='zeros', **running)
        self.running_variance = self.add_weight('running_variance', channels, initializer='ones', **running)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        dtype, x = x.dtype, full_precision(x)
        if not training:
            return tf.cast(self._normalise(x, self.running_mean, self.running_variance), dtype)
        count = tf.cast(tf.size(x) // tf.shape(x)[-1], x.dtype)
        replica = tf.distribute.get_replica_context()
        several = replica is not None and replica.num_replicas_in_sync > 1
        total = tf.reduce_sum(x, [0, 1, 2])
        if several:
            count, total = replica.all_reduce(tf.distribute.ReduceOp.SUM, [count, total])
        mean = total / count
        squares = tf.reduce_sum(tf.square(x - mean), [0, 1, 2])
        if several:
            squares = replica.all_reduce(tf.distribute.ReduceOp.SUM, squares)
        variance = squares / count
        # One value per channel has no variance; PyTorch refuses it, we leave the running value as the biased one.
        unbiased = squares / tf.maximum(count - 1, 1)
        decay = tf.constant(BATCH_NORM_MOMENTUM, x.dtype)
        self.running_mean.assign(decay * self.running_mean + (1 - decay) * tf.stop_gradient(mean))
        self.running_variance.assign(decay * self.running_variance + (1 - decay) * tf.stop_gradient(unbiased))
        return tf.cast(self._normalise(x, mean, variance), dtype)

    def _normalise(self, x, mean, variance):
        factor = tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype)) * self.scale
        return x * factor + (self.offset - mean * factor)


class NoNorm(tf.keras.layers.Layer):
    """Stands where a norm would be. Input and output: [b, h, w, c], the same."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return x


class InstanceNormFormula(tf.keras.layers.Layer):
    """Instance normalisation whose second derivative is right too, for gradient penalties.

    The libraries' layers take their variance from tf.nn.moments, which holds the mean in it constant: that leaves the
    first derivative as it is and falsifies the second.

    Input and output: float [b, h, w, c].
    """

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        dtype, x = x.dtype, full_precision(x)
        centred = x - tf.reduce_mean(x, [1, 2], keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), [1, 2], keepdims=True)
        return tf.cast(centred * tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype)), dtype)


class InstanceNorm(tf.keras.layers.Layer):
    """Instance normalisation in the form that is the fastest; its second derivative is not to be relied on.

    Statistics are in float32 in every precision. The library's layer does the work in float64, and for converters to
    other formats, which know no batch norm with statistics of its own.

    Input and output: float [b, h, w, c].
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.plain = False
        """True leaves the work to the library's layer in what is traced from now on."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.plain or x.dtype == tf.float64:
            wide = full_precision(x)
            return tf.cast(_library_norm(wide.dtype.name, x.shape[-1])(wide), x.dtype)
        return normalise_images(x, NORM_EPSILON)


class ThumbnailInstanceNorm(tf.keras.layers.Layer):
    """Instance norm of one image whose statistics come from another view of it (Chen et al. 2022, thumbnail instance
    normalisation): a call in training takes the mean and the variance from its input and keeps them, a call outside of
    training uses those that are kept.
    """

    def __init__(self, **kwargs):
        super().__init__(dtype=tf.keras.backend.floatx(), autocast=False, **kwargs)

    def build(self, input_shape):
        shape = [1, 1, 1, input_shape[-1]]
        self.mean = self.add_weight('mean', shape, initializer='zeros', trainable=False)
        self.variance = self.add_weight('variance', shape, initializer='ones', trainable=False)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        dtype, x = x.dtype, full_precision(x)
        if training:
            mean, variance = tf.nn.moments(x, [0, 1, 2], keepdims=True)
            self.mean.assign(mean)
            self.variance.assign(variance)
        else:
            mean, variance = self.mean, self.variance
        return tf.cast((x - mean) * tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype)), dtype)


@functools.cache
def _library_norm(dtype: str, channels: Optional[int], form: Optional[str] = None) -> tf.keras.layers.Layer:
    """A library's layer for so many channels, which has no state and can be everybody's.

    Imported where it is used: that takes seconds.

    This is the one place that knows of two stacks (setup.py pins them): on TensorFlow 2.15 the layer is
    tensorflow-addons', which no later TensorFlow can load; there Keras's own group norm has the same formula.
    """
    form = form or ('addons' if tf.__version__.startswith('2.15.') else 'keras')
    arguments = dict(epsilon=NORM_EPSILON, center=False, scale=False, dtype=dtype)
    if form == 'keras':
        return tf.keras.layers.GroupNormalization(groups=-1, **arguments)
    with warnings.catch_warnings():
        # The announcement that tensorflow-addons is in maintenance would stand at the head of every run.
        warnings.simplefilter('ignore', UserWarning)
        import tensorflow_addons as tfa
    return tfa.layers.InstanceNormalization(**arguments)


def instance_norm(form: str = 'fast') -> tf.keras.layers.Layer:
    """Instance normalisation without weights: biased variance, epsilon 1e-5, the same in training and test.

    Args:
        form: 'fast'; 'addons' and 'keras' ask for a library's (for the test that holds them equal); 'formula' is the
            one to differentiate twice.
    """
    if form == 'fast':
        return InstanceNorm()
    if form == 'formula':
        return InstanceNormFormula()
    return _library_norm.__wrapped__(tf.keras.backend.floatx(), None, form)


def make_norm(norm: str, initializers: Initializers, form: str = 'fast') -> tf.keras.layers.Layer:
    """A normalisation layer.

    Args:
        norm: 'instance', 'instance_thumbnail', 'batch' or 'none'.
        initializers: of batch norm's scales.
        form: of 'instance', see instance_norm.

    Raises:
        UserError: an unknown norm.
    """
    if norm == 'batch':
        return BatchNorm(initializers.norm_scale())
    if norm == 'instance':
        return instance_norm(form)
    if norm == 'instance_thumbnail':
        return ThumbnailInstanceNorm()
    if norm == 'none':
        return NoNorm()
    raise UserError(f"norm '{norm}' is not one of: instance, batch, none.")


def norm_wants_bias(norm: str) -> bool:
    """Whether a convolution in front of this norm has a bias: only for 'instance' (the reference's rule)."""
    return norm.startswith('instance')

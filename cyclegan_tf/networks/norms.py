"""Normalisation layers, as in PyTorch."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import warnings
from collections.abc import Iterator
from typing import Optional, Union

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import test_time
from cyclegan_tf.networks.initializers import Initializers
from cyclegan_tf.networks.kernels.instance_norm import normalise_images
from cyclegan_tf.networks.precision import full_precision

NORM_EPSILON = 1e-5  # torch.nn.InstanceNorm2d and BatchNorm2d, default eps
BATCH_NORM_MOMENTUM = 0.9  # 1 minus torch.nn.BatchNorm2d's momentum of 0.1, the weight of the new value


_frozen: contextvars.ContextVar[bool] = contextvars.ContextVar('frozen_statistics', default=False)


@contextlib.contextmanager
def frozen_statistics() -> Iterator[None]:
    """A context in which batch norms that are called, or traced, in training do not move their running statistics: for
    a forward pass that is done once more."""
    before = _frozen.set(True)
    try:
        yield
    finally:
        _frozen.reset(before)


class BatchNorm(tf.keras.layers.Layer):
    """Batch normalisation over all replicas that keeps running statistics as torch.nn.BatchNorm2d does.

    In training, in every precision, the biased variance normalises, and the unbiased variance, n / (n - 1) times as
    large, updates the running variance. Keras's own layer does so only in its fused float32 form; its synchronised form
    uses the biased variance.

    Outside training, the running statistics normalise, or those of each image: see test_time.TestTime.

    Input and output: float [b, h, w, c].
    """

    def __init__(self, scale_initializer: tf.keras.initializers.Initializer, **kwargs):
        super().__init__(dtype=tf.keras.backend.floatx(), autocast=False, **kwargs)
        self._scale_initializer = scale_initializer

    def build(self, input_shape):
        channels = [int(input_shape[-1])]
        self.scale = self.add_weight('scale', channels, initializer=self._scale_initializer)
        self.offset = self.add_weight('offset', channels, initializer='zeros')
        # Every replica computes the same update and keeps its own copy, so that a function on a single device can do
        # the update too.
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
            how = test_time.active()
            own = how is not None and how.batch_statistics
            statistics = image_statistics(x, how) if own else (self.running_mean, self.running_variance)
            return tf.cast(self._normalise(x, *statistics), dtype)
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
        # A single value per channel has no unbiased variance: PyTorch raises an error, here the biased one is used.
        unbiased = squares / tf.maximum(count - 1, 1)
        if not _frozen.get():
            decay = tf.constant(BATCH_NORM_MOMENTUM, x.dtype)
            self.running_mean.assign(decay * self.running_mean + (1 - decay) * tf.stop_gradient(mean))
            self.running_variance.assign(decay * self.running_variance + (1 - decay) * tf.stop_gradient(unbiased))
        return tf.cast(self._normalise(x, mean, variance), dtype)

    def _normalise(self, x, mean, variance):
        return _affine(x, mean, variance, self.scale, self.offset)


def _affine(x, mean, variance, scale, offset):
    factor = tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype)) * scale
    return x * factor + (offset - mean * factor)


def image_statistics(x: tf.Tensor, how: test_time.TestTime) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and biased variance of each channel of each image, over its own pixels: [b, h, w, c] -> [b, 1, 1, c]."""
    own, count = how.own_pixels(x)
    mean = tf.reduce_sum(x * own, [1, 2], keepdims=True) / count
    return mean, tf.reduce_sum(tf.square(x - mean) * own, [1, 2], keepdims=True) / count


class NoNorm(tf.keras.layers.Layer):
    """Takes the place of a norm. Input and output: [b, h, w, c], unchanged."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return x


class InstanceNormFormula(tf.keras.layers.Layer):
    """Instance normalisation whose second derivative is correct too, for gradient penalties.

    The libraries' layers take the variance from tf.nn.moments, which treats the mean in it as a constant. The first
    derivative is still correct, but the second is wrong.

    Input and output: float [b, h, w, c].
    """

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        dtype, x = x.dtype, full_precision(x)
        centred = x - tf.reduce_mean(x, [1, 2], keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), [1, 2], keepdims=True)
        return tf.cast(centred * tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype)), dtype)


class InstanceNorm(tf.keras.layers.Layer):
    """Instance normalisation in its fastest form; its second derivative is not reliable.

    Statistics are float32 in every precision. In float64 the library's layer is used instead, and also for converters
    to other formats, which do not support a batch norm that computes its own statistics.

    Input and output: float [b, h, w, c].
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.plain = False
        """If True, functions traced from now on use the library's layer."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.plain or x.dtype == tf.float64:
            wide = full_precision(x)
            return tf.cast(_library_norm(wide.dtype.name, x.shape[-1])(wide), x.dtype)
        return normalise_images(x, NORM_EPSILON)


class ThumbnailInstanceNorm(tf.keras.layers.Layer):
    """Instance norm with the statistics of another view of the image: thumbnail instance norm (Chen et al. 2022).

    A call in training computes the mean and the variance of its input, stores them and uses them; a call outside
    training uses the stored ones. What is stored may be smoothed over several calls, as for the frames of a video: see
    test_time.TestTime.kept_statistics. Input and output: float [1, h, w, c].
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
            mean, variance = _store(self, tf.nn.moments(x, [0, 1, 2], keepdims=True))
        else:
            mean, variance = self.mean, self.variance
        return tf.cast((x - mean) * tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype)), dtype)


class ThumbnailBatchNorm(tf.keras.layers.Layer):
    """The same for batch norm that uses the statistics of the image: see test_time.TestTime.

    Its trainable weights are those of BatchNorm, in the same order. Input and output: float [1, h, w, c].
    """

    def __init__(self, **kwargs):
        super().__init__(dtype=tf.keras.backend.floatx(), autocast=False, **kwargs)

    def build(self, input_shape):
        channels = int(input_shape[-1])
        self.scale = self.add_weight('scale', [channels], initializer='ones')
        self.offset = self.add_weight('offset', [channels], initializer='zeros')
        shape = [1, 1, 1, channels]
        self.mean = self.add_weight('mean', shape, initializer='zeros', trainable=False)
        self.variance = self.add_weight('variance', shape, initializer='ones', trainable=False)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        dtype, x = x.dtype, full_precision(x)
        if training:
            mean, variance = _store(self, image_statistics(x, test_time.active()))
        else:
            mean, variance = self.mean, self.variance
        return tf.cast(_affine(x, mean, variance, self.scale, self.offset), dtype)


def _store(
    norm: Union[ThumbnailInstanceNorm, ThumbnailBatchNorm], statistics: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Stores mean and variance in a norm, mixed with the former ones if that is told; returns what is stored."""
    how = test_time.active()
    kept = None if how is None else how.kept_statistics
    stored = []
    for variable, new in zip((norm.mean, norm.variance), statistics):
        value = new
        if kept is not None:
            # Not a sum alone: a former value that is not finite would stay, multiplied by 0.
            value = tf.where(kept > 0, new + tf.cast(kept, new.dtype) * (variable - new), new)
        variable.assign(value)
        stored.append(value)
    return tuple(stored)


@functools.cache
def _library_norm(dtype: str, channels: Optional[int], form: Optional[str] = None) -> tf.keras.layers.Layer:
    """A library's instance norm for this number of channels; it has no state, so that one layer serves all networks.

    The library is imported here, where it is used, since the import takes seconds.

    This is the only place that distinguishes the two stacks of packages (setup.py pins them). On TensorFlow 2.15 the
    layer comes from tensorflow-addons, which later versions of TensorFlow cannot load; on these, Keras's group norm has
    the same formula.
    """
    form = form or ('addons' if tf.__version__.startswith('2.15.') else 'keras')
    arguments = dict(epsilon=NORM_EPSILON, center=False, scale=False, dtype=dtype)
    if form == 'keras':
        return tf.keras.layers.GroupNormalization(groups=-1, **arguments)
    with warnings.catch_warnings():
        # Otherwise every run would begin with the notice that tensorflow-addons is in maintenance mode.
        warnings.simplefilter('ignore', UserWarning)
        import tensorflow_addons as tfa
    return tfa.layers.InstanceNormalization(**arguments)


def instance_norm(form: str = 'fast') -> tf.keras.layers.Layer:
    """Instance normalisation without weights: biased variance, epsilon 1e-5, the same in training and outside.

    Args:
        form: 'fast'; 'addons' or 'keras', the layers of these libraries, for the test that compares them; or 'formula',
            which can be differentiated twice.
    """
    if form == 'fast':
        return InstanceNorm()
    if form == 'formula':
        return InstanceNormFormula()
    return _library_norm.__wrapped__(tf.keras.backend.floatx(), None, form)


def make_norm(norm: str, initializers: Initializers, form: str = 'fast') -> tf.keras.layers.Layer:
    """A normalisation layer.

    Args:
        norm: 'instance', 'instance_thumbnail', 'batch', 'batch_thumbnail' or 'none'.
        initializers: makes the initializers of batch norm's scales.
        form: implementation of 'instance', see instance_norm.

    Raises:
        UserError: the norm is unknown.
    """
    if norm == 'batch':
        return BatchNorm(initializers.norm_scale())
    if norm == 'instance':
        return instance_norm(form)
    if norm == 'instance_thumbnail':
        return ThumbnailInstanceNorm()
    if norm == 'batch_thumbnail':
        return ThumbnailBatchNorm()
    if norm == 'none':
        return NoNorm()
    raise UserError(f"norm '{norm}' is not one of: instance, batch, none.")


def norm_wants_bias(norm: str) -> bool:
    """Whether a convolution before this norm has a bias: only for 'instance' (the reference's rule)."""
    return norm.startswith('instance')

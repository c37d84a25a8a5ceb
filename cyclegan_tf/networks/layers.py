"""Padding, normalisation, initialisation and the convolutions, as PyTorch computes them."""

from __future__ import annotations

import warnings
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError

NORM_EPSILON = 1e-5  # torch.nn.InstanceNorm2d and BatchNorm2d, default eps
LEAKY_SLOPE = 0.2  # the reference's
BATCH_NORM_MOMENTUM = 0.9  # torch.nn.BatchNorm2d's momentum is 0.1, counted from the other side


# ---------------------------------------------------------------------------------------------------------- padding
def pad_zero(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], zeros around."""
    return tf.pad(x, [[0, 0], [width, width], [width, width], [0, 0]])


def pad_reflect(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], mirrored without repeating the border.

    Sides must exceed `width`, as for torch.nn.ReflectionPad2d.
    """
    return tf.pad(x, [[0, 0], [width, width], [width, width], [0, 0]], mode='REFLECT')


def pad_replicate(x: tf.Tensor, width: int) -> tf.Tensor:
    """[b, h, w, c] -> [b, h + 2*width, w + 2*width, c], the border repeated (torch.nn.ReplicationPad2d)."""
    # A symmetric pad of one repeats the border pixel; tf.pad has no mode that does it for any width.
    for _ in range(width):
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode='SYMMETRIC')
    return x


PADDINGS = {'reflect': pad_reflect, 'replicate': pad_replicate, 'zero': pad_zero}


# --------------------------------------------------------------------------------------------------- initialisation
class Initializers:
    """Hands each layer of one network its own initializer, all derived from one seed.

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

    def _next_seed(self) -> int:
        return int(self._seeds.integers(2**31))

    def kernel(self) -> tf.keras.initializers.Initializer:
        """For the kernel of a (transposed) convolution. Fans are PyTorch's: kernel area times channels."""
        seed = self._next_seed()
        if self._init_type == 'normal':
            return tf.keras.initializers.RandomNormal(0.0, self._init_gain, seed)
        if self._init_type == 'orthogonal':
            return tf.keras.initializers.Orthogonal(self._init_gain, seed)
        # PyTorch's normal is not cut at two deviations, Keras's GlorotNormal and HeNormal are.
        scale, mode = (self._init_gain**2, 'fan_avg') if self._init_type == 'xavier' else (2.0, 'fan_in')
        return tf.keras.initializers.VarianceScaling(scale, mode, 'untruncated_normal', seed)

    def norm_scale(self) -> tf.keras.initializers.Initializer:
        """For batch norm's scale: N(1, init_gain), whatever the init_type (the reference's init_func)."""
        return tf.keras.initializers.RandomNormal(1.0, self._init_gain, self._next_seed())


# ---------------------------------------------------------------------------------------------------- normalisation
class BatchNorm(tf.keras.layers.Layer):
    """Batch normalisation over all replicas that keeps running statistics as torch.nn.BatchNorm2d does.

    In training the biased variance normalises and the unbiased one, n / (n - 1) times it, enters the running
    variance, in every precision. Of Keras's own layer only the fused float32 form does so, and its synchronised form
    is biased.

    Input and output: float [b, h, w, c].
    """

    def __init__(self, scale_initializer: tf.keras.initializers.Initializer, **kwargs):
        super().__init__(**kwargs)
        self._scale_initializer = scale_initializer

    def build(self, input_shape):
        channels = [int(input_shape[-1])]
        self.scale = self.add_weight('scale', channels, initializer=self._scale_initializer)
        self.offset = self.add_weight('offset', channels, initializer='zeros')
        # Every replica computes the same update, so that the first one's is everybody's.
        running = {
            'trainable': False,
            'synchronization': tf.VariableSynchronization.ON_WRITE,
            'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.running_mean = self.add_weight('running_mean', channels, initializer='zeros', **running)
        self.running_variance = self.add_weight('running_variance', channels, initializer='ones', **running)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return self._normalise(x, self.running_mean, self.running_variance)
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
        return self._normalise(x, mean, variance)

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
        centred = x - tf.reduce_mean(x, [1, 2], keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), [1, 2], keepdims=True)
        return centred * tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype))


class KeptInstanceNorm(tf.keras.layers.Layer):
    """Instance norm of one image whose statistics come from another view of it (Chen et al. 2022, thumbnail instance
    normalisation): a call in training takes the mean and the variance from its input and keeps them, a call outside of
    training uses those that are kept.
    """

    def build(self, input_shape):
        shape = [1, 1, 1, input_shape[-1]]
        self.mean = self.add_weight('mean', shape, initializer='zeros', trainable=False)
        self.variance = self.add_weight('variance', shape, initializer='ones', trainable=False)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training:
            mean, variance = tf.nn.moments(x, [0, 1, 2], keepdims=True)
            self.mean.assign(mean)
            self.variance.assign(variance)
        else:
            mean, variance = self.mean, self.variance
        return (x - mean) * tf.math.rsqrt(variance + tf.constant(NORM_EPSILON, x.dtype))


def instance_norm(form: Optional[str] = None) -> tf.keras.layers.Layer:
    """Instance normalisation without weights: biased variance, epsilon 1e-5, the same in training and test.

    This is the one place that knows of two stacks (setup.py pins them): on TensorFlow 2.15 the layer is
    tensorflow-addons', which no later TensorFlow can load; there Keras's own group norm has the same formula.

    Args:
        form: None chooses by what is installed; 'addons' and 'keras' ask for one form (for the test that holds them
            equal); 'formula' is the one to differentiate twice.
    """
    if form == 'formula':
        return InstanceNormFormula()
    if form is None:
        form = 'addons' if tf.__version__.startswith('2.15.') else 'keras'
    if form == 'keras':
        return tf.keras.layers.GroupNormalization(groups=-1, epsilon=NORM_EPSILON, center=False, scale=False)
    with warnings.catch_warnings():
        # The announcement that tensorflow-addons is in maintenance would stand at the head of every run.
        warnings.simplefilter('ignore', UserWarning)
        import tensorflow_addons as tfa
    return tfa.layers.InstanceNormalization(epsilon=NORM_EPSILON, center=False, scale=False)


def make_norm(norm: str, initializers: Initializers, form: Optional[str] = None) -> tf.keras.layers.Layer:
    """The normalisation layer for norm 'instance' (instance_norm has its forms), 'instance_kept', 'batch' or 'none'."""
    if norm == 'batch':
        return BatchNorm(initializers.norm_scale())
    if norm == 'instance':
        return instance_norm(form)
    if norm == 'instance_kept':
        return KeptInstanceNorm()
    if norm == 'none':
        return NoNorm()
    raise UserError(f"norm '{norm}' is not one of: instance, batch, none.")


def norm_wants_bias(norm: str) -> bool:
    """Whether a convolution in front of this norm has a bias: only for 'instance' (the reference's rule)."""
    return norm.startswith('instance')


# ----------------------------------------------------------------------------------------------------- convolutions
class Conv(tf.keras.layers.Conv2D):
    """A convolution with explicit zero padding on all sides, as torch.nn.Conv2d.

    Keras's 'same' pads a 3x3 convolution of stride 2 by (0, 1) and keeps the size of a 4x4 one of stride 1.

    Input: [b, h, w, c]. Output: [b, (h + 2*pad - kernel) // stride + 1, likewise w, filters].
    """

    def __init__(self, filters, kernel, stride=1, pad=0, use_bias=True, kernel_initializer='glorot_uniform'):
        super().__init__(
            filters, kernel, stride, padding='valid', use_bias=use_bias, kernel_initializer=kernel_initializer
        )
        self._pad = pad

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return super().call(pad_zero(x, self._pad) if self._pad else x)


class UpConv(tf.keras.layers.Conv2DTranspose):
    """A transposed convolution of stride 2 that doubles the sides, as torch.nn.ConvTranspose2d with padding 1.

    Kernel 3 stands for PyTorch's output_padding 1, kernel 4 for output_padding 0. Keras's 'same' is shifted by one
    pixel against PyTorch for kernel 3.

    Input: [b, h, w, c]. Output: [b, 2*h, 2*w, filters].
    """

    def __init__(self, filters, kernel, use_bias=True, kernel_initializer='glorot_uniform'):
        padding = 'same' if kernel == 4 else 'valid'
        super().__init__(filters, kernel, 2, padding=padding, use_bias=use_bias, kernel_initializer=kernel_initializer)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = super().call(x)
        return y[:, 1:, 1:, :] if self.padding == 'valid' else y  # [b, 2*h, 2*w, filters]


# ------------------------------------------------------------------------------------------- activation and dropout
def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """x, and 0.2 x below zero."""
    if x.dtype == tf.float64:
        return tf.where(x > 0, x, LEAKY_SLOPE * x)  # TensorFlow's operation holds the slope in float32
    return tf.nn.leaky_relu(x, LEAKY_SLOPE)


def dropout(x: tf.Tensor, rate: float, seed: Optional[tf.Tensor], index: int) -> tf.Tensor:
    """Stateless dropout, since Keras's layer has a random state that no checkpoint holds.

    Args:
        x: float [b, h, w, c].
        rate: the share of values that become 0; the others are divided by 1 - rate.
        seed: int32 [2], another for every call of the network.
        index: which dropout of the network this is; each draws other numbers.
    """
    if seed is None:
        raise ValueError('`seed` (None) is needed to train a network with dropout; pass an int32 tensor of shape [2].')
    return tf.nn.experimental.stateless_dropout(x, rate, tf.random.experimental.stateless_fold_in(seed, index))

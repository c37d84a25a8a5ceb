"""Adversarial, cycle and identity losses: one value per example, without weights."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cyclegan_tf.errors import UserError

GRADIENT_EPSILON = 1e-16  # from the reference's cal_gradient_penalty: keeps the norm's gradient finite at zero


def mean_per_example(x: tf.Tensor) -> tf.Tensor:
    """[batch, ...] -> [batch], the mean over all other axes."""
    return tf.reduce_mean(x, axis=tf.range(1, tf.rank(x)))


def least_squares(logits: tf.Tensor, is_real: bool) -> tf.Tensor:
    """Squared distance to 1 (real) or 0 (fake): Mao et al. 2017. Logits [batch, h, w, 1] -> [batch]."""
    return mean_per_example(tf.square(logits - 1) if is_real else tf.square(logits))


def binary_cross_entropy(logits: tf.Tensor, is_real: bool) -> tf.Tensor:
    """Cross-entropy on logits: Goodfellow et al. 2014. Logits [batch, h, w, 1] -> [batch]."""
    return mean_per_example(tf.nn.softplus(-logits) if is_real else tf.nn.softplus(logits))


def wasserstein(logits: tf.Tensor, is_real: bool) -> tf.Tensor:
    """The critic's value, negative for real: Gulrajani et al. 2017. Logits [batch, h, w, 1] -> [batch]."""
    return mean_per_example(-logits if is_real else logits)


ADVERSARIAL = {'lsgan': least_squares, 'vanilla': binary_cross_entropy, 'wgangp': wasserstein}


def adversarial(gan_mode: str) -> Callable[[tf.Tensor, bool], tf.Tensor]:
    """The adversarial loss of a gan_mode: (logits [batch, h, w, 1], is_real) -> [batch]."""
    if gan_mode not in ADVERSARIAL:
        raise UserError(f"gan_mode '{gan_mode}' is not one of: {', '.join(ADVERSARIAL)}.")
    return ADVERSARIAL[gan_mode]


def l1(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference, for the cycle and the identity. Two [batch, h, w, c] -> [batch]."""
    return mean_per_example(tf.abs(x - y))


def gradient_penalty(
    critic: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor
) -> tf.Tensor:
    """(||gradient of the critic between real and fake|| - 1)^2, without its weight: Gulrajani et al. 2017.

    Args:
        critic: images [batch, h, w, c] -> logits.
        real, fake: float [batch, h, w, c].
        mix: float [batch] in [0, 1], share of the real image in each mixture.

    Returns:
        [batch].
    """
    mix = tf.reshape(mix, [-1, 1, 1, 1])
    mixed = mix * real + (1 - mix) * fake
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(mixed)
        logits = critic(mixed)
    gradient = tf.reshape(tape.gradient(logits, mixed), [tf.shape(real)[0], -1])  # [b, h*w*c]
    return tf.square(tf.norm(gradient + GRADIENT_EPSILON, axis=1) - 1)

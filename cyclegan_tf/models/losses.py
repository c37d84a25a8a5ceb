"""Adversarial, cycle, identity and contrastive losses: one value per example, without weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Optional, Union

import tensorflow as tf

from cyclegan_tf.errors import UserError

OWN_POSITION = -10.0  # similarity of a position's two features where it stands among the negatives (CUT's PatchNCELoss)
GRADIENT_EPSILON = 1e-16  # from the reference's cal_gradient_penalty: keeps the norm's gradient finite at zero


def mean_per_example(x: tf.Tensor) -> tf.Tensor:
    """[batch, ...] -> [batch], the mean over all other axes."""
    return tf.reduce_mean(x, axis=tf.range(1, tf.rank(x)))


Logits = Union[tf.Tensor, Sequence[tf.Tensor]]
"""[batch, h, w, 1]; a list of these if a discriminator judges several scales."""


def mean_of_logits(logits: Logits, term: Callable[[tf.Tensor], tf.Tensor] = tf.identity) -> tf.Tensor:
    """[batch], the mean of a term of the logits; of several scales, each counts alike, however many logits it has, so
    that weights of losses mean the same with any number of them. (pix2pixHD takes their sum.)"""
    return _mean([mean_per_example(term(of_scale)) for of_scale in tf.nest.flatten(logits)])


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """What discriminators and generators minimise.

    Args:
        real: the discriminator's term for a logit of a real image, element by element.
        fake: likewise for a logit of a fake.
        generator: the generator's term for a logit of its fake; None: the same as `real`.
    """

    real: Callable[[tf.Tensor], tf.Tensor]
    fake: Callable[[tf.Tensor], tf.Tensor]
    generator: Optional[Callable[[tf.Tensor], tf.Tensor]] = None

    def of_discriminator(self, on_real: Logits, on_fake: Logits) -> tf.Tensor:
        """Half the sum of both terms. Logits on real images and on fakes -> [batch]."""
        return 0.5 * (mean_of_logits(on_real, self.real) + mean_of_logits(on_fake, self.fake))

    def of_generator(self, on_fake: Logits) -> tf.Tensor:
        """Logits on fakes -> [batch]."""
        return mean_of_logits(on_fake, self.generator or self.real)


ADVERSARIAL = {
    # Squared distance to 1 (real) or 0 (fake): Mao et al. 2017.
    'lsgan': AdversarialLoss(real=lambda logits: tf.square(logits - 1), fake=tf.square),
    # Cross-entropy on logits: Goodfellow et al. 2014.
    'vanilla': AdversarialLoss(real=lambda logits: tf.nn.softplus(-logits), fake=tf.nn.softplus),
    # The critic's value, negative for real: Gulrajani et al. 2017.
    'wgangp': AdversarialLoss(real=tf.negative, fake=tf.identity),
    # max(0, 1 - logit) and max(0, 1 + logit), and for generators -logit: Lim and Ye 2017.
    'hinge': AdversarialLoss(
        real=lambda logits: tf.nn.relu(1 - logits),
        fake=lambda logits: tf.nn.relu(1 + logits),
        generator=tf.negative,
    ),
}


def adversarial(name: str) -> AdversarialLoss:
    """The adversarial loss of a name in ADVERSARIAL.

    Raises:
        UserError: there is no such loss.
    """
    if name not in ADVERSARIAL:
        raise UserError(f"adversarial loss '{name}' is not one of: {', '.join(ADVERSARIAL)}.")
    return ADVERSARIAL[name]


def l1(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference. Two [batch, h, w, c] -> [batch]."""
    return mean_per_example(tf.abs(x - y))


def patch_nce(queries: tf.Tensor, keys: tf.Tensor, temperature: float) -> tf.Tensor:
    """How much likelier a query is matched to another position's key than to its own: CUT's PatchNCE (Park et al. 2020,
    equation 3), with the negatives of the same image.

    Args:
        queries: float [batch, n, d], of length 1 along d.
        keys: the same, for the same positions.
        temperature: divides all similarities.

    Returns:
        [batch], the mean over an image's positions.
    """
    own = tf.reduce_sum(queries * keys, axis=-1, keepdims=True)  # [b, n, 1]
    others = tf.linalg.matmul(queries, keys, transpose_b=True)  # [b, n, n]
    others = tf.linalg.set_diag(others, tf.fill(tf.shape(others)[:2], tf.constant(OWN_POSITION, others.dtype)))
    return _contrast(own, others, temperature)


def patch_nce_of_batch(
    queries: tf.Tensor, keys: tf.Tensor, all_keys: tf.Tensor, first: tf.Tensor, temperature: float
) -> tf.Tensor:
    """patch_nce with the negatives of all images of the batch.

    Args:
        queries, keys, temperature: as for patch_nce.
        all_keys: float [global_batch, n, d], the keys of all images, of which those of `keys` are a part.
        first: int32, index of the first of `keys` among them.
    """
    images, positions, features = tf.unstack(tf.shape(queries))
    own = tf.reduce_sum(queries * keys, axis=-1, keepdims=True)  # [b, n, 1]
    flat = tf.reshape(all_keys, [-1, features])  # [global_batch * n, d]
    others = tf.tensordot(queries, flat, [[2], [1]])  # [b, n, global_batch * n]
    place = (first + tf.range(images))[:, None] * positions + tf.range(positions)[None]  # [b, n]
    is_own = place[..., None] == tf.range(tf.shape(flat)[0])
    others = tf.where(is_own, tf.constant(OWN_POSITION, others.dtype), others)
    return _contrast(own, others, temperature)


def _contrast(own: tf.Tensor, others: tf.Tensor, temperature: float) -> tf.Tensor:
    """Cross-entropy to the own key: similarities [b, n, 1] and [b, n, m] -> [b]."""
    logits = tf.concat([own, others], axis=-1) / temperature
    return mean_per_example(tf.reduce_logsumexp(logits, axis=-1) - logits[..., 0])


def gradient_penalty(
    critic: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor
) -> tf.Tensor:
    """(||gradient of the critic between real and fake|| - 1)^2, without its weight: Gulrajani et al. 2017.

    Args:
        critic: images [batch, h, w, c] -> logits.
        real, fake: float [batch, h, w, c].
        mix: float [batch] in [0, 1], share of the real image in each mixture.

    Returns:
        [batch]; of several scales the mean.
    """
    gradients = _gradients_at(critic, mixture(real, fake, mix), tf.identity)
    return _mean([tf.square(tf.norm(gradient + GRADIENT_EPSILON, axis=1) - 1) for gradient in gradients])


def r1(critic: Callable[[tf.Tensor], Logits], real: tf.Tensor) -> tf.Tensor:
    """||gradient of the critic at real images||^2 / 2, without its weight: R1 of Mescheder et al. 2018, equation 9. Its
    critic gives one logit; of the many of a PatchGAN, the gradient is that of their sum, as in gradient_penalty.

    Args:
        critic: images [batch, h, w, c] -> logits.
        real: float [batch, h, w, c].

    Returns:
        [batch]; of several scales the mean.
    """
    return _mean([tf.reduce_sum(tf.square(x), axis=1) / 2 for x in _gradients_at(critic, real, tf.identity)])


def zero_centred_penalty(critic: Callable[[tf.Tensor], Logits], images: tf.Tensor) -> tf.Tensor:
    """||gradient of the mean of the critic's logits||^2, without its weight: the penalty with centre 0 that UVCGAN2
    (Torbunov et al. 2023) takes at mixtures of real images and fakes.

    Args:
        critic: images [batch, h, w, c] -> logits.
        images: float [batch, h, w, c].

    Returns:
        [batch]; of several scales the mean.
    """
    return _mean([tf.reduce_sum(tf.square(x), axis=1) for x in _gradients_at(critic, images, mean_per_example)])


def mixture(real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
    """mix * real + (1 - mix) * fake; images [batch, h, w, c], mix float [batch] in [0, 1]."""
    mix = tf.reshape(mix, [-1, 1, 1, 1])
    return mix * real + (1 - mix) * fake


def _gradients_at(critic, images, term) -> list[tf.Tensor]:
    """For each scale the gradient of the sum of term(logits) with respect to each image's pixels, [batch, h*w*c]."""
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
        tape.watch(images)
        totals = [term(logits) for logits in tf.nest.flatten(critic(images))]
    return [tf.reshape(tape.gradient(total, images), [tf.shape(images)[0], -1]) for total in totals]


def _mean(values: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(values) / len(values)

"""Losses against their formulas, one value for each example."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import losses

LOGITS = np.random.default_rng(0).normal(size=(3, 4, 5, 1)) * 2


@pytest.mark.parametrize(
    'gan_mode, real, fake',
    [
        ('lsgan', (LOGITS - 1) ** 2, LOGITS**2),
        ('vanilla', -np.log(1 / (1 + np.exp(-LOGITS))), -np.log(1 - 1 / (1 + np.exp(-LOGITS)))),
        ('wgangp', -LOGITS, LOGITS),
    ],
)
def test_adversarial_losses(gan_mode, real, fake):
    loss, others = losses.adversarial(gan_mode), LOGITS[::-1]
    found = loss.of_discriminator(tf.constant(LOGITS), tf.constant(others))
    np.testing.assert_allclose(found, (real + fake[::-1]).mean((1, 2, 3)) / 2, rtol=1e-12)
    np.testing.assert_allclose(loss.of_generator(tf.constant(LOGITS)), real.mean((1, 2, 3)), rtol=1e-12)


def test_hinge_loss_of_a_generator_has_no_margin():
    hinge, others = losses.adversarial('hinge'), LOGITS[::-1]
    expected = (np.maximum(0, 1 - LOGITS) + np.maximum(0, 1 + others)).mean((1, 2, 3)) / 2
    np.testing.assert_allclose(hinge.of_discriminator(tf.constant(LOGITS), tf.constant(others)), expected, rtol=1e-12)
    np.testing.assert_allclose(hinge.of_generator(tf.constant(LOGITS)), -LOGITS.mean((1, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize('gan_mode', losses.ADVERSARIAL)
def test_each_scale_counts_alike(gan_mode):
    loss, small = losses.adversarial(gan_mode), LOGITS[:, :2, :2]
    scales = [tf.constant(LOGITS), tf.constant(small)]
    each = [loss.of_generator(of_scale) for of_scale in scales]
    np.testing.assert_allclose(loss.of_generator(scales), np.mean(each, axis=0), rtol=1e-12)
    each = [loss.of_discriminator(of_scale, -of_scale) for of_scale in scales]
    found = loss.of_discriminator(scales, [-of_scale for of_scale in scales])
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-12)


def test_cross_entropy_of_large_logits_is_finite():
    large = tf.constant([[[[1000.0]]]])
    assert losses.adversarial('vanilla').of_discriminator(-large, large).numpy() == [1000.0]


def test_l1_is_the_mean_absolute_difference_of_each_example():
    x, y = np.zeros((2, 2, 2, 1)), np.stack([np.full((2, 2, 1), -1.0), np.full((2, 2, 1), 3.0)])
    np.testing.assert_array_equal(losses.l1(tf.constant(x), tf.constant(y)), [1.0, 3.0])


def test_gradient_penalty_of_a_linear_critic_is_known():
    # The gradient of sum(w * x) is w, wherever it is taken.
    weights = np.random.default_rng(1).normal(size=(4, 4, 3))
    critic = lambda x: tf.reduce_sum(x * weights, [1, 2, 3])  # noqa: E731
    real, fake = np.zeros((2, 4, 4, 3)), np.ones((2, 4, 4, 3))
    result = losses.gradient_penalty(critic, tf.constant(real), tf.constant(fake), tf.constant([0.0, 0.3], tf.float64))
    np.testing.assert_allclose(result, [(np.linalg.norm(weights) - 1) ** 2] * 2, rtol=1e-12)


def test_gradient_penalty_mixes_each_example_by_its_own_share():
    # The gradient of sum(x^2) / 2 is x, so the penalty tells where it was taken.
    critic = lambda x: tf.reduce_sum(x * x, [1, 2, 3]) / 2  # noqa: E731
    real, fake = np.full((2, 1, 1, 1), 3.0), np.full((2, 1, 1, 1), 7.0)
    result = losses.gradient_penalty(critic, tf.constant(real), tf.constant(fake), tf.constant([1.0, 0.25], tf.float64))
    np.testing.assert_allclose(result, [(3.0 - 1) ** 2, (6.0 - 1) ** 2])


def test_zero_centred_penalties_of_a_quadratic_critic_are_known():
    # The gradient of the sum of these logits, x^2 / 2, is x; of their mean, x / 24.
    x = np.random.default_rng(2).normal(size=(2, 3, 4, 2))
    critic, squares = (lambda x: x * x / 2), (x**2).sum((1, 2, 3))
    np.testing.assert_allclose(losses.r1(critic, tf.constant(x)), squares / 2, rtol=1e-12)
    np.testing.assert_allclose(losses.zero_centred_penalty(critic, tf.constant(x)), squares / 24**2, rtol=1e-12)
    scales = lambda x: [critic(x), 3 * critic(x)]  # noqa: E731
    np.testing.assert_allclose(losses.r1(scales, tf.constant(x)), (1 + 9) / 2 * squares / 2, rtol=1e-12)
    found = losses.zero_centred_penalty(scales, tf.constant(x))
    np.testing.assert_allclose(found, (1 + 9) / 2 * squares / 24**2, rtol=1e-12)
    real, fake, mix = tf.constant(x), tf.zeros_like(x), tf.ones([2], tf.float64)
    both = [losses.gradient_penalty(lambda x, f=f: f * critic(x), real, fake, mix) for f in (1, 3)]
    np.testing.assert_allclose(losses.gradient_penalty(scales, real, fake, mix), np.mean(both, axis=0), rtol=1e-12)
    mixed = losses.mixture(tf.constant(x), tf.zeros_like(x), tf.constant([1.0, 0.5], tf.float64))
    np.testing.assert_allclose(mixed, x * np.reshape([1, 0.5], [2, 1, 1, 1]))


def test_unknown_adversarial_losses_are_refused():
    with pytest.raises(UserError, match="adversarial loss 'unknown' is not one of: lsgan, vanilla, wgangp"):
        losses.adversarial('unknown')

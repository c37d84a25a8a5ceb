"""Dynamic loss scaling, so that gradients in float16 neither vanish nor overflow (Micikevicius et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

INITIAL_SCALE = 2.0**15
GROWTH_STEPS = 2000  # as in Keras and PyTorch


class LossScale(tf.Module):
    """The factor by which one optimizer's losses are multiplied before they are differentiated.

    It is halved, to no less than 1, when a gradient is not finite, and doubled after `growth_steps` consecutive steps
    with finite gradients. It is a power of two, so that neither the multiplication nor the division rounds. Its state
    is held in variables and saved in checkpoints.

    Keras's LossScaleOptimizer is not used, because it counts skipped steps as steps of Adam. The bias correction would
    then not match the updates that were made.

    Args:
        used: False leaves losses and gradients unchanged. The variables exist nevertheless, so that a run can be
            continued in another precision.
        growth_steps: number of consecutive steps after which the scale doubles.
        initial: initial scale, a power of two.
    """

    def __init__(self, used: bool, growth_steps: int = GROWTH_STEPS, initial: float = INITIAL_SCALE):
        super().__init__()
        self.used = used
        self._growth_steps = growth_steps
        # Every replica computes the same update, so that the value on the first replica is valid for all.
        shared = {
            'trainable': False,
            'synchronization': tf.VariableSynchronization.ON_WRITE,
            'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.scale = tf.Variable(initial, dtype=tf.float32, **shared)
        self.good_steps = tf.Variable(0, dtype=tf.int64, **shared)

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss, multiplied by the scale."""
        return loss * tf.cast(self.scale.read_value(), loss.dtype) if self.used else loss

    def unscaled(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients of the loss itself, from those of scaled(loss)."""
        if not self.used:
            return list(gradients)
        inverse = 1 / self.scale.read_value()
        return [gradient * tf.cast(inverse, gradient.dtype) for gradient in gradients]

    def can_shrink(self) -> tf.Tensor:
        """Bool: whether the scale is above 1, so that it can be lowered after an overflow."""
        return self.scale.read_value() > 1

    def update(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Adapts the scale to a step's gradients.

        Args:
            gradients: gradients summed over all replicas, so that all replicas decide alike.

        Returns:
            Bool: whether all gradients are finite; if not, the step must be skipped.
        """
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        scale, good = self.scale.read_value(), self.good_steps.read_value() + 1
        grows = good >= self._growth_steps
        # Stays within the range of float32.
        larger = tf.where(grows & (scale < tf.float32.max / 2), scale * 2, scale)
        self.scale.assign(tf.where(finite, larger, tf.maximum(scale / 2, 1)))
        self.good_steps.assign(tf.where(finite & ~grows, good, 0))
        return finite

"""Dynamic loss scaling, so that gradients in float16 neither vanish nor overflow (Micikevicius et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

INITIAL_SCALE = 2.0**15
GROWTH_STEPS = 2000  # as in Keras and PyTorch


class LossScale(tf.Module):
    """What one optimizer's losses are multiplied by before they are differentiated.

    It halves, to 1 at the least, when a gradient is not finite, and doubles after so many steps in a row whose
    gradients were. Powers of two: neither the multiplication nor the division rounds. Its state is in variables, so
    that a checkpoint holds it.

    Keras's LossScaleOptimizer counts a skipped step as one of Adam's, whose bias correction then is not that of the
    updates that were made; so this is ours.

    Args:
        used: False leaves losses and gradients as they are; the variables are there all the same, so that a run may go
            on in another precision.
        growth_steps: steps in a row after which the scale doubles.
        initial: the first scale, a power of two.
    """

    def __init__(self, used: bool, growth_steps: int = GROWTH_STEPS, initial: float = INITIAL_SCALE):
        super().__init__()
        self.used = used
        self._growth_steps = growth_steps
        # Every replica computes the same update, so that the first one's is everybody's.
        shared = {
            'trainable': False,
            'synchronization': tf.VariableSynchronization.ON_WRITE,
            'aggregation': tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.scale = tf.Variable(initial, dtype=tf.float32, **shared)
        self.good_steps = tf.Variable(0, dtype=tf.int64, **shared)

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to differentiate."""
        return loss * tf.cast(self.scale.read_value(), loss.dtype) if self.used else loss

    def unscaled(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The gradients of the loss itself, from those of scaled(loss)."""
        if not self.used:
            return list(gradients)
        inverse = 1 / self.scale.read_value()
        return [gradient * tf.cast(inverse, gradient.dtype) for gradient in gradients]

    def can_shrink(self) -> tf.Tensor:
        """bool: whether the scale is above 1, so that the next gradients after an overflow are smaller."""
        return self.scale.read_value() > 1

    def update(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Adapts the scale to a step's gradients.

        Args:
            gradients: summed over all replicas, so that all decide alike.

        Returns:
            bool: whether all are finite; else the step is to be skipped.
        """
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        scale, good = self.scale.read_value(), self.good_steps.read_value() + 1
        grows = good >= self._growth_steps
        # Not beyond what float32 holds.
        larger = tf.where(grows & (scale < tf.float32.max / 2), scale * 2, scale)
        self.scale.assign(tf.where(finite, larger, tf.maximum(scale / 2, 1)))
        self.good_steps.assign(tf.where(finite & ~grows, good, 0))
        return finite

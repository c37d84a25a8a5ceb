"""Adam with epsilon added where the paper and PyTorch add it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf


class Adam(tf.keras.optimizers.Adam):
    """Kingma and Ba 2015, Algorithm 1: epsilon is added to the root of the bias-corrected second moment.

    Keras adds it to the uncorrected one (the paper's "epsilon hat"), which makes early steps with small gradients
    smaller than PyTorch's. State, arguments and checkpoints are those of tf.keras.optimizers.Adam.

    Args:
        warmup_steps: in step t of the first warmup_steps, counted from 1, the learning rate is t / warmup_steps of
            what it is set to.
    """

    def __init__(self, *args, warmup_steps: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        self._warmup_steps = warmup_steps

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[tf.Variable],
        condition: Optional[tf.Tensor] = None,
    ) -> None:
        """Does one step as apply_gradients does, with a twentieth of its graph nodes.

        To be called in replica context, or on one device.

        Args:
            gradients: gradients summed over all replicas.
            variables: variables that were passed to build(), all of one dtype.
            condition: bool, equal on all replicas. If it is False, nothing changes, neither the moments nor the number
                of steps.
        """

        def update(strategy, numbers, *gradients):
            for gradient, variable in zip(gradients, variables):
                strategy.extended.update(variable, self._update, args=(gradient, numbers), group=False)

        numbers = self._numbers(variables[0].dtype)
        if condition is not None:
            # These values leave every bit as it is. A branch would make a GPU wait for the CPU.
            neutral = {'lr': 0.0, 'beta1': 1.0, 'beta2': 1.0}
            numbers.update({name: tf.where(condition, numbers[name], neutral[name]) for name in neutral})
            gradients = [tf.where(condition, gradient, 0) for gradient in gradients]
        tf.distribute.get_replica_context().merge_call(update, args=(numbers, *gradients))
        self.iterations.assign_add(1 if condition is None else tf.cast(condition, self.iterations.dtype))

    def rate(self) -> tf.Tensor:
        """The learning rate of the next step, a scalar."""
        rate = tf.convert_to_tensor(self.learning_rate)
        if not self._warmup_steps:
            return rate
        return rate * tf.minimum(tf.cast(self.iterations + 1, rate.dtype) / self._warmup_steps, 1)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        self._update(variable, gradient, self._numbers(variable.dtype))

    def _numbers(self, dtype: tf.DType) -> dict[str, tf.Tensor]:
        """The kernel's arguments that are equal for all variables in this step."""
        time = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        power_2 = tf.pow(beta_2, time)
        return {
            'lr': tf.cast(self.rate(), dtype),
            'beta1': beta_1,
            'beta2': beta_2,
            'beta1_power': tf.pow(beta_1, time),
            'beta2_power': power_2,
            # The kernel implements the form with epsilon hat; this value turns it into Algorithm 1.
            'epsilon': tf.constant(self.epsilon, dtype) * tf.sqrt(1 - power_2),
        }

    def _update(self, variable: tf.Variable, gradient: tf.Tensor, numbers: dict[str, tf.Tensor]) -> None:
        """Updates a variable and its moments in one kernel, which passes through memory once."""
        index = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[index].handle, self._velocities[index].handle
        tf.raw_ops.ResourceApplyAdam(var=variable.handle, m=m, v=v, grad=gradient, use_locking=True, **numbers)

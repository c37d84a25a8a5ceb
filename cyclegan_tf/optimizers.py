"""Adam with its epsilon where the paper and PyTorch have it."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


class Adam(tf.keras.optimizers.Adam):
    """Kingma and Ba 2015, Algorithm 1: epsilon is added to the root of the bias-corrected second moment.

    Keras adds it to the uncorrected one (the paper's "epsilon hat"), which makes early steps with small gradients
    smaller than PyTorch's. State, arguments and checkpoints are those of tf.keras.optimizers.Adam.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        dtype = variable.dtype
        time = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        index = self._index_dict[self._var_key(variable)]
        power_2 = tf.pow(beta_2, time)
        # One kernel that passes through memory once. It has the epsilon hat: this one makes it Algorithm 1.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=tf.pow(beta_1, time),
            beta2_power=power_2,
            lr=tf.cast(self.learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype) * tf.sqrt(1 - power_2),
            grad=gradient,
            use_locking=True,
        )

    def apply_if(self, condition: tf.Tensor, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> None:
        """One step, or nothing at all: neither moments nor the count of steps change then.

        Inside a replica, or on one device.

        Args:
            condition: bool, alike on all replicas.
            gradients: summed over all replicas.
            variables: of build().
        """

        def update(strategy, condition, *gradients):
            for gradient, variable in zip(gradients, variables):
                strategy.extended.update(variable, self._step_if, args=(gradient, condition), group=False)

        # A branch around all of it would be inside the replica, where no variable can be updated.
        tf.distribute.get_replica_context().merge_call(update, args=(condition, *gradients))
        self.iterations.assign_add(tf.cast(condition, self.iterations.dtype))

    def _step_if(self, variable: tf.Variable, gradient: tf.Tensor, condition: tf.Tensor) -> None:
        tf.cond(condition, lambda: self.update_step(gradient, variable), lambda: None)

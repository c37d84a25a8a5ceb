"""Adam with its epsilon where the paper and PyTorch have it."""

from __future__ import annotations

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
        moment_1, moment_2 = self._momentums[index], self._velocities[index]
        moment_1.assign_add((gradient - moment_1) * (1 - beta_1))
        moment_2.assign_add((tf.square(gradient) - moment_2) * (1 - beta_2))
        corrected_1 = moment_1 / (1 - tf.pow(beta_1, time))
        corrected_2 = moment_2 / (1 - tf.pow(beta_2, time))
        rate = tf.cast(self.learning_rate, dtype)
        variable.assign_sub(rate * corrected_1 / (tf.sqrt(corrected_2) + tf.constant(self.epsilon, dtype)))

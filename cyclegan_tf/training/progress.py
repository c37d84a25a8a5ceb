"""Running means of a run's metrics and other records of its progress, which are part of its state."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError


class Progress(tf.Module):
    """Sums of the metrics since the last report and since the epoch began, the number of rollbacks, the number of steps
    per epoch (0: not known yet), and the last step at which the model was evaluated; part of the run's state."""

    def __init__(self, metrics: int):
        super().__init__()
        self.since_report = tf.Variable(tf.zeros([metrics], tf.float64), trainable=False)
        self.steps_since_report = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.since_epoch = tf.Variable(tf.zeros([metrics], tf.float64), trainable=False)
        self.steps_since_epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.rollbacks = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.steps_per_epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.measured = tf.Variable(0, dtype=tf.int64, trainable=False)

    def add(self, rows: np.ndarray) -> None:
        """Adds the metrics of some steps, float [steps, metrics], one step after another."""
        for total, count in ((self.since_report, self.steps_since_report), (self.since_epoch, self.steps_since_epoch)):
            values = total.numpy()
            # Not a single sum: its order, and so its rounding, would depend on how the steps were grouped into calls.
            for row in rows:
                values = values + row
            total.assign(values)
            count.assign_add(len(rows))

    def check_epoch(self, steps: int, step: int, dataroot: str) -> None:
        """Records the number of steps per epoch; if the run has done a step, it must be the recorded number.

        Args:
            steps: steps per epoch with the present images.
            step: number of steps that the run has done.
            dataroot: where the images are.

        Raises:
            UserError: the number differs, because images were added or removed. The run would be in another epoch, with
                another learning rate, and would overwrite checkpoints of epochs.
        """
        before = int(self.steps_per_epoch.numpy())
        if step and before not in (0, steps):
            raise UserError(
                f'`dataroot` ({dataroot}) now gives {steps} steps per epoch, but the run was trained with {before}, so '
                f'images have been added or removed; restore the original images, or start another run with another '
                f'--name.'
            )
        self.steps_per_epoch.assign(steps)

    def take_report(self) -> np.ndarray:
        """Returns the means since the last report, and resets them."""
        return _take(self.since_report, self.steps_since_report)

    def take_epoch(self) -> np.ndarray:
        """Returns the means since the beginning of the epoch, and resets them."""
        return _take(self.since_epoch, self.steps_since_epoch)


def _take(total: tf.Variable, count: tf.Variable) -> np.ndarray:
    means = total.numpy() / max(1, int(count.numpy()))
    total.assign(tf.zeros_like(total))
    count.assign(0)
    return means

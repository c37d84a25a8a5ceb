"""Running means of a run's metrics, and what else it remembers of its course; a part of its state."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError


class Progress(tf.Module):
    """Sums of the metrics since the last report and since the epoch began, how often training went back, how many
    steps an epoch has (0: not known yet), and the step that was measured last; a part of the state."""

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
        """Adds the metrics of some steps, float [steps, metrics], one step after the other."""
        for total, count in ((self.since_report, self.steps_since_report), (self.since_epoch, self.steps_since_epoch)):
            values = total.numpy()
            # Not one sum: its order, and so its rounding, would depend on how the steps were grouped into calls.
            for row in rows:
                values = values + row
            total.assign(values)
            count.assign_add(len(rows))

    def check_epoch(self, steps: int, step: int, dataroot: str) -> None:
        """Notes how many steps an epoch has with the images that there are now; compares, if a step has been done.

        Args:
            steps: in an epoch.
            step: that the run is at.
            dataroot: where the images are.

        Raises:
            UserError: there are others than the run was trained with, so that it would be in another epoch, at another
                learning rate, and would save over the epochs that are kept.
        """
        before = int(self.steps_per_epoch.numpy())
        if step and before not in (0, steps):
            raise UserError(
                f'`dataroot` ({dataroot}) now gives {steps} steps an epoch, and the run was trained with {before}, so '
                f'images have come or gone; bring back those that were there, or start another run with another --name.'
            )
        self.steps_per_epoch.assign(steps)

    def take_report(self) -> np.ndarray:
        """The means since the last report, which begins anew."""
        return _take(self.since_report, self.steps_since_report)

    def take_epoch(self) -> np.ndarray:
        """The means since the epoch began, which begins anew."""
        return _take(self.since_epoch, self.steps_since_epoch)


def _take(total: tf.Variable, count: tf.Variable) -> np.ndarray:
    means = total.numpy() / max(1, int(count.numpy()))
    total.assign(tf.zeros_like(total))
    count.assign(0)
    return means

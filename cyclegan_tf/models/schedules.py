"""Learning rate schedules: the factor by which the initial rate is multiplied in each epoch, counted from 1."""

from __future__ import annotations

import math

import tensorflow as tf

STEP_FACTOR = 0.1  # gamma of the reference's StepLR
PLATEAU_FACTOR = 0.2  # the reference's ReduceLROnPlateau settings: factor, patience, threshold
PLATEAU_PATIENCE = 5
PLATEAU_THRESHOLD = 0.01


def linear(epoch: int, n_epochs: int, n_epochs_decay: int) -> float:
    """1 for n_epochs, then down in equal steps to 1 / (n_epochs_decay + 1) in the last epoch.

    As in CUT, in the reference of August 2025 and in the reference before 2020. In between, the reference stepped its
    schedule before each epoch, so that it trained the last epoch at rate 0.
    """
    return 1 - max(0, epoch - n_epochs) / (n_epochs_decay + 1)


def step(epoch: int, lr_decay_iters: int) -> float:
    """Divided by ten after every lr_decay_iters epochs."""
    return STEP_FACTOR ** ((epoch - 1) // lr_decay_iters)


def cosine(epoch: int, n_epochs: int) -> float:
    """Half a cosine from 1 to 0 over n_epochs, then 0.

    Departs from the reference: PyTorch's CosineAnnealingLR rises again after n_epochs.
    """
    return (1 + math.cos(math.pi * min(epoch - 1, n_epochs) / n_epochs)) / 2


class Plateau(tf.Module):
    """Divided by five at the sixth consecutive epoch whose loss is not at least 1 % below the best one.

    Departs from the reference: it feeds this schedule a constant 0; ours is fed the generators' mean loss of an epoch.
    The state is held in variables and saved in checkpoints; in float64, since losses are compared over many epochs.
    """

    def __init__(self):
        super().__init__()
        self.best = tf.Variable(float('inf'), dtype=tf.float64, trainable=False)
        self.epochs_without_gain = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.factor = tf.Variable(1.0, dtype=tf.float64, trainable=False)

    def update(self, loss: float) -> None:
        """Takes the mean loss of the epoch that has just ended into account."""
        best = float(self.best.numpy())
        # Departs from the reference: where the loss is negative (wgangp), PyTorch's relative threshold accepts a rise
        # as a gain; here a gain is always a fall.
        if math.isinf(best) or loss < best - PLATEAU_THRESHOLD * abs(best):
            self.best.assign(loss)
            self.epochs_without_gain.assign(0)
            return
        self.epochs_without_gain.assign_add(1)
        if int(self.epochs_without_gain.numpy()) > PLATEAU_PATIENCE:
            self.factor.assign(self.factor * PLATEAU_FACTOR)
            self.epochs_without_gain.assign(0)

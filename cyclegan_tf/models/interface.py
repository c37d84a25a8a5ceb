"""What a model offers to the trainer, the checkpoints and the summaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf


class Model(Protocol):
    """A trackable object (tf.Module) whose state tf.train.Checkpoint(model=model) finds.

    Images are float [batch, height, width, channels] in [-1, 1] everywhere.
    """

    step: tf.Variable
    """int64, steps done."""

    metric_names: tuple[str, ...]
    """TensorBoard tags of what train_step returns, in its order."""

    loss_names: tuple[str, ...]
    """Those of metric_names that are reported on the terminal, without 'loss/'."""

    compile_whole: bool
    """Whether XLA is to compile train_step as one, which takes a single replica."""

    def train_step(self, real_a: tf.Tensor, real_b: tf.Tensor) -> tf.Tensor:
        """Does one step, in replica context, on this replica's share of the global batch.

        Returns:
            float [len(metric_names)], equal on all replicas: means over the global batch.
        """

    def start_epoch(self, epoch: int) -> None:
        """Sets the learning rates for this epoch, counted from 1."""

    def end_epoch(self, means: Mapping[str, float]) -> None:
        """Tells schedules that depend on it the means of the metrics over the epoch, by tag."""

    def learning_rates(self) -> dict[str, float]:
        """By TensorBoard tag."""

    def networks(self) -> dict[str, tf.keras.Model]:
        """By their names in the reference, for reports."""

    def translators(self) -> dict[str, tf.keras.Model]:
        """Generators by direction, 'AtoB' and 'BtoA', where A and B are the data set's domains."""

    def visuals(self, real_a: tf.Tensor, real_b: tf.Tensor) -> dict[str, dict[str, tf.Tensor]]:
        """Rows of pictures by tag: 'A_to_B' -> {'real_A': ..., 'fake_B': ..., 'rec_A': ..., 'idt_B': ...}."""

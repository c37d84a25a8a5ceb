"""Running means of networks' weights."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf


def attribute(network: str) -> str:
    """The attribute of a model that holds the running mean of a network, such as 'average_g_a' for 'G_A'."""
    return f'average_{network.lower()}'


def update(
    average: tf.keras.Model, network: tf.keras.Model, decay: float, step: tf.Tensor, condition: Optional[tf.Tensor]
) -> None:
    """Moves a running mean towards a network, in replica context: average <- d * average + (1 - d) * network.

    In step t, counted from 0, d is the smaller of decay and (1 + t) / (10 + t), as tf.train.ExponentialMovingAverage
    has it, so that the initial weights are soon forgotten. Running statistics of batch norm are averaged like weights,
    since they belong to them.

    Args:
        average, network: of the same architecture.
        decay: share of the mean that stays, from 0 to 1.
        step: number of steps done.
        condition: bool, equal on all replicas; if it is False, nothing changes.
    """
    t = tf.cast(step, tf.float64)
    share = 1 - tf.minimum(tf.constant(decay, t.dtype), (1 + t) / (10 + t))
    share = tf.cast(share, tf.keras.backend.floatx())
    if condition is not None:
        share = tf.where(condition, share, 0)

    def move(mean, value, share):
        mean.assign_add((tf.convert_to_tensor(value) - tf.convert_to_tensor(mean)) * share)

    def move_all(strategy, share):
        for mean, value in zip(average.trainable_variables, network.trainable_variables):
            strategy.extended.update(mean, move, args=(value, share), group=False)

    tf.distribute.get_replica_context().merge_call(move_all, args=(share,))
    # Of running statistics, each replica has a copy of its own.
    for mean, value in zip(average.non_trainable_variables, network.non_trainable_variables):
        move(mean, value, share)

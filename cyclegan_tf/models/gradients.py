"""Losses and gradients of parts of a step, which add up to those of the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from cyclegan_tf.ops.ordering import after

Part = tuple[dict[str, tf.Tensor], dict]
"""Losses by name, and gradients by reference of their variable."""


def make_part(losses: dict[str, tf.Tensor], gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> Part:
    """A part from its losses and its gradients, which are in the order of the variables."""
    return losses, {variable.ref(): gradient for variable, gradient in zip(variables, gradients)}


def tensors(part: Part) -> list[tf.Tensor]:
    """All that a part holds; what waits for these waits for the part to be done."""
    return [tensor for of_part in part for tensor in of_part.values()]


def add(some: Part, others: Part) -> Part:
    """The losses of both, and their gradients added up."""
    gradients = dict(some[1])
    for variable, gradient in others[1].items():
        gradients[variable] = gradients[variable] + gradient if variable in gradients else gradient
    return {**some[0], **others[0]}, gradients


def accumulate(part: Callable, batches: int, *columns: tf.Tensor):
    """Applies a part of the step to one micro-batch after the other.

    Args:
        part: micro-batches -> images, and what is summed.
        batches: how many there are.
        columns: [replica_batch, ...] each.

    Returns:
        The images of all, and the sums.
    """
    images, total = [], None
    for rows in zip(*(tf.split(x, batches) for x in columns)):
        # Without order they would run at the same time, and take the memory that this is to save.
        of_one, result = part(*after(tf.nest.flatten(total) if images else [], rows))
        images.append(of_one)
        total = tf.nest.map_structure(tf.add, total, result) if total else result
    return [tf.concat(of_all, axis=0) for of_all in zip(*images)], total


def sum_over_replicas(tensors: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """The sums over all replicas, each to be had as soon as its own terms are there; inside a replica.

    Without the gradient that ReplicaContext.all_reduce defines. The node for it ties all gradients together, so that
    the optimizer of graphs finds some reads of variables ordered before their updates already and drops the edges that
    say so; then it takes the node apart, and the updates may overtake the reads (seen in TensorFlow 2.15 and 2.21).
    And all_reduce puts a collective operation into what XLA compiles for a single GPU.
    """

    def reduce(strategy, *tensors):
        pairs = [(tensor, tensor) for tensor in tensors]
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)

    return tf.distribute.get_replica_context().merge_call(reduce, args=tuple(tensors))

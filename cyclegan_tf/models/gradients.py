"""Losses and gradients of parts of a step, which add up to those of the whole step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from cyclegan_tf.ops.ordering import after

Part = tuple[dict[str, tf.Tensor], dict]
"""Losses by name, and gradients by variable.ref()."""


def make_part(losses: dict[str, tf.Tensor], gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> Part:
    """A part with these losses and gradients, which are in the order of the variables."""
    return losses, {variable.ref(): gradient for variable, gradient in zip(variables, gradients)}


def tensors(part: Part) -> list[tf.Tensor]:
    """All tensors of a part; whatever waits for them waits until the part is done."""
    return [tensor for by_key in part for tensor in by_key.values()]


def add(some: Part, others: Part) -> Part:
    """The losses of both parts, and the sums of their gradients."""
    gradients = dict(some[1])
    for variable, gradient in others[1].items():
        gradients[variable] = gradients[variable] + gradient if variable in gradients else gradient
    return {**some[0], **others[0]}, gradients


def accumulate(part: Callable, batches: int, *columns: tf.Tensor):
    """Applies a part of the step to one micro-batch after another.

    Args:
        part: function of a micro-batch of each column -> (images, values to be summed).
        batches: number of micro-batches.
        columns: tensors [replica_batch, ...], which are split into micro-batches.

    Returns:
        The images of all micro-batches, concatenated, and the sums.
    """
    images, total = [], None
    for rows in zip(*(tf.split(x, batches) for x in columns)):
        # Without this order they would run in parallel and take the memory that is to be saved.
        batch_images, result = part(*after(tf.nest.flatten(total) if images else [], rows))
        images.append(batch_images)
        total = tf.nest.map_structure(tf.add, total, result) if total else result
    return [tf.concat(pieces, axis=0) for pieces in zip(*images)], total


def sum_over_replicas(tensors: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Sums over all replicas, each available as soon as its own terms are; to be called in replica context.

    This avoids ReplicaContext.all_reduce, because that defines a gradient. The node for the gradient ties all tensors
    together, so that the graph optimizer considers some reads of variables to be ordered before their updates already
    and removes the edges that ensure this order. Later it removes the node, and updates may overtake reads (seen in
    TensorFlow 2.15 and 2.21). all_reduce also adds a collective operation to what XLA compiles for a single GPU.
    """

    def reduce(strategy, *tensors):
        pairs = [(tensor, tensor) for tensor in tensors]
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)

    return tf.distribute.get_replica_context().merge_call(reduce, args=tuple(tensors))

"""The order of computation in graphs, also in those that XLA compiles; and functions that graphs do not inline."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.ops import control_flow_util

# A function that graphs call rather than inline. This keeps graphs small if they repeat a computation dozens of times.
# A call begins when all of its arguments are ready; inlined operations would begin as soon as they can, and keep their
# results in memory until then.
noinline_function = functools.partial(tf.function, autograph=False, experimental_attributes={'_noinline': True})


def inside_xla() -> bool:
    """Whether XLA will compile the graph that is being traced."""
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def after(first: Sequence[tf.Tensor], values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the values; what is computed from the returned ones waits for `first`.

    It is not merged with the same computation on the original values, either. This saves memory: what one part of a
    step keeps is released before the next part begins. The values must not be differentiated, since XLA's barrier has
    no gradient.
    """
    if inside_xla():
        # XLA ignores control dependencies, and merges equal computations.
        return gen_xla_ops.xla_optimization_barrier(input=[*values, *first])[: len(values)]
    with tf.control_dependencies(first):
        return [tf.identity(value) for value in values]

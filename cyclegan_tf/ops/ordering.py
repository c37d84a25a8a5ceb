"""What is computed before what, in graphs that XLA compiles too; and functions that a graph calls."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.ops import control_flow_util

# A function that graphs call rather than write out. It keeps graphs small where the same is done dozens of times; it
# begins when its arguments are there, while steps of its own would begin as soon as they can, and keep their results.
noinline_function = functools.partial(tf.function, autograph=False, experimental_attributes={'_noinline': True})


def inside_xla() -> bool:
    """Whether XLA will compile what is traced here."""
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def after(first: Sequence[tf.Tensor], values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The values; what is computed from these waits for `first`, and is not merged with what has them from elsewhere.

    It saves memory: what one part of a step keeps is gone before the next part begins. Not for what is differentiated,
    since XLA's barrier has no gradient.
    """
    if inside_xla():
        # XLA knows no control dependencies, and merges what is computed twice.
        return gen_xla_ops.xla_optimization_barrier(input=[*values, *first])[: len(values)]
    with tf.control_dependencies(first):
        return [tf.identity(value) for value in values]

"""Networks in segments: functions that a graph contains once, and whose activations can be recomputed for gradients."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import tensorflow as tf
from tensorflow.python.eager import record

from cyclegan_tf.ops.ordering import after, inside_xla, noinline_function


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a network.

    Attributes:
        function: (*arguments, *inputs, training=..., seed=...) -> an output or a list of them; equal arguments must
            give equal results.
        inputs: indices of the values that it takes: 0 is the network's input, and the outputs of the segments follow in
            order.
        arguments: Python values that are passed before the inputs; segments with equal function and arguments are the
            same.
        num_outputs: number of outputs.
        inline: part of the caller's graph instead of a function of its own; there, unlike in a function, the gradient
            of an input is computed only if it is needed.
    """

    function: Callable[..., Union[tf.Tensor, list[tf.Tensor]]]
    inputs: tuple[int, ...]
    arguments: tuple[Any, ...] = ()
    num_outputs: int = 1
    inline: bool = False

    def compute(self, inputs: Sequence[tf.Tensor], training: bool, seed: Optional[tf.Tensor]) -> list[tf.Tensor]:
        """The outputs of the segment."""
        return tf.nest.flatten(self.function(*self.arguments, *inputs, training=training, seed=seed))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to compute of a network: the segments in order, and the indices of the values to return."""

    segments: Sequence[Segment]
    outputs: Sequence[int]


def run(plan: Plan, x: tf.Tensor, training: bool = False, seed: Optional[tf.Tensor] = None) -> list[tf.Tensor]:
    """The values that the plan returns, computed from the network's input."""
    values = _values(plan.segments, x, training, seed)
    return [values[i] for i in plan.outputs]


def _values(segments, x, training, seed):
    values = [x]
    for segment in segments:
        values += segment.compute([values[i] for i in segment.inputs], training, seed)
    return values


Training = Callable[[Plan, tf.Tensor, Optional[tf.Tensor]], list[tf.Tensor]]
"""(plan, x, seed) -> what `run` returns in training."""


def make_training(variables: Callable[[], list[tf.Variable]], as_functions: bool, recompute_grads: bool) -> Training:
    """Makes the function that runs a network in training.

    Args:
        variables: function that returns the trainable variables.
        as_functions: let graphs contain the segments as functions; not with batch norm, which reduces over replicas.
        recompute_grads: recompute activations in the backward pass; needs `as_functions`.
    """

    # A step calls each generator several times. Segments that are functions are traced and optimised only once, and the
    # first step starts in a fraction of the time. Not under XLA, which needs shapes and paddings when it compiles: the
    # gradient of a function gets them from the function, among all its other intermediate results. XLA would therefore
    # treat everything that enters the function as a constant, even images and weights, and would compile again whenever
    # one of them changes, which is at every step.
    @functools.cache
    def function_of(function, arguments):
        return noinline_function(functools.partial(function, *arguments))

    def in_graph(segment):
        if segment.inline:
            return segment
        return dataclasses.replace(segment, function=function_of(segment.function, segment.arguments), arguments=())

    @functools.cache
    def recomputed(segments, outputs, in_xla):  # in_xla: XLA must not reuse what was traced outside it
        return _recomputed(segments, outputs, variables)

    def train(plan, x, seed):
        if recompute_grads:
            return recomputed(tuple(plan.segments), tuple(plan.outputs), inside_xla())(x, seed)
        if as_functions and tf.inside_function() and not inside_xla():
            plan = dataclasses.replace(plan, segments=[in_graph(segment) for segment in plan.segments])
        return run(plan, x, True, seed)

    return train


def _recomputed(
    segments: Sequence[Segment], outputs: Sequence[int], variables: Callable[[], list[tf.Variable]]
) -> Callable[[tf.Tensor, Optional[tf.Tensor]], list[tf.Tensor]]:
    """Runs a plan in training and keeps only the values between segments for the gradient (Chen et al. 2016).

    The backward pass computes the values inside a segment again when it reaches the segment. Forward and backward pass
    are functions that TensorFlow does not inline, so it can neither merge the two computations nor start the second too
    early. The graph contains the network once, however often it is called, which saves memory as well.
    """

    @noinline_function
    def forward(x, seed):
        return _values(segments, x, True, seed)[1:]

    @noinline_function
    def backward(values, seed, output_grads):
        weights = variables()
        value_grads = [None] * (1 + sum(segment.num_outputs for segment in segments))
        for i, gradient in zip(outputs, output_grads):
            value_grads[i] = _sum(value_grads[i], gradient)
        weight_grads = [None] * len(weights)
        for segment in reversed(segments):
            value_grads, gradients = value_grads[: -segment.num_outputs], value_grads[-segment.num_outputs :]
            inputs = after(gradients, [values[n] for n in segment.inputs])  # waits for the gradients of the outputs
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(inputs + weights)
                results = segment.compute(inputs, True, seed)
            input_grads = tape.gradient(results, inputs + weights, output_gradients=gradients)
            for n, gradient in zip(segment.inputs, input_grads):
                value_grads[n] = _sum(value_grads[n], gradient)
            weight_grads = [_sum(*pair) for pair in zip(weight_grads, input_grads[len(inputs) :])]
        return value_grads + weight_grads

    def call(x, seed):
        @tf.custom_gradient
        def connected(x):
            with record.stop_recording():
                values = [x, *forward(x, seed)]

            # `variables` are those that the segments read; if they read none, the argument is not passed.
            def gradient(*output_grads, variables=()):
                needed = values[: -segments[-1].num_outputs]
                input_grad, *weight_grads = backward(needed, seed, list(output_grads))
                return input_grad, [weight_grads[order[id(variable.handle)]] for variable in variables]

            return [values[i] for i in outputs], gradient

        # By handle: under mixed precision the layers' variables are wrapped, and those that `gradient` gets are not.
        order = {id(variable.handle): i for i, variable in enumerate(variables())}
        return connected(x)

    in_graph = tf.function(call, autograph=False)
    # Outside a graph, TensorFlow does not see which variables the function reads.
    return lambda x, seed: in_graph(x, seed) if tf.executing_eagerly() else call(x, seed)


def _sum(one: Optional[tf.Tensor], other: Optional[tf.Tensor]) -> Optional[tf.Tensor]:
    return other if one is None else one if other is None else one + other

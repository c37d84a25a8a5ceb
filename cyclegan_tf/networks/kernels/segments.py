"""Networks in segments: functions that a graph holds once, and whose activations gradients can compute again."""

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
        function: (*arguments, *inputs, training=..., seed=...) -> an output or a list of them; with the same arguments
            it has to come to the same.
        inputs: which values it starts from: 0 is the network's input, the outputs of the segments follow in their
            order.
        arguments: Python values, which go before the inputs; what has the same function and arguments is the same.
        num_outputs: how many outputs it has.
        inline: it stands in the caller's graph; there, other than in a function, the gradient of an input that nobody
            asks for is not computed.
    """

    function: Callable[..., Union[tf.Tensor, list[tf.Tensor]]]
    inputs: tuple[int, ...]
    arguments: tuple[Any, ...] = ()
    num_outputs: int = 1
    inline: bool = False

    def compute(self, inputs: Sequence[tf.Tensor], training: bool, seed: Optional[tf.Tensor]) -> list[tf.Tensor]:
        """Its outputs."""
        return tf.nest.flatten(self.function(*self.arguments, *inputs, training=training, seed=seed))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is computed of a network: the segments in their order, and which of the values are handed out."""

    segments: Sequence[Segment]
    outputs: Sequence[int]


def run(plan: Plan, x: tf.Tensor, training: bool = False, seed: Optional[tf.Tensor] = None) -> list[tf.Tensor]:
    """The values that the plan hands out, from the network's input."""
    values = _values(plan.segments, x, training, seed)
    return [values[i] for i in plan.outputs]


def _values(segments, x, training, seed):
    values = [x]
    for segment in segments:
        values += segment.compute([values[i] for i in segment.inputs], training, seed)
    return values


Training = Callable[[Plan, tf.Tensor, Optional[tf.Tensor]], list[tf.Tensor]]
"""(plan, x, seed) -> what `run` gives in training."""


def make_training(variables: Callable[[], list[tf.Variable]], as_functions: bool, recompute_grads: bool) -> Training:
    """A network in training.

    Args:
        variables: -> its trainable ones.
        as_functions: a graph may hold the segments as functions; not so with batch norm, which reduces over replicas.
        recompute_grads: gradients compute activations again; needs `as_functions`.
    """

    # A step calls each generator several times. Traced and optimised once, it starts in a fraction of the time. Not so
    # with XLA, which has to know shapes and paddings when it compiles: a function's gradient gets them from the
    # function, among all other results; so XLA takes all that goes into the function for constants, images and weights
    # too, and compiles anew whenever one has changed: at every step.
    @functools.cache
    def function_of(function, arguments):
        return noinline_function(functools.partial(function, *arguments))

    def in_graph(segment):
        if segment.inline:
            return segment
        return dataclasses.replace(segment, function=function_of(segment.function, segment.arguments), arguments=())

    @functools.cache
    def recomputed(segments, outputs, in_xla):  # TensorFlow would take what it traced elsewhere for XLA too
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
    """A plan in training, of which only the values between segments are kept for the gradient (Chen et al. 2016).

    What is inside a segment is computed once more when the gradient comes to it. The way there and the way back are
    functions that TensorFlow leaves whole: it can neither merge what is computed twice nor compute it before its turn,
    and the network is in the graph once however often it is called, which saves memory too.
    """

    @noinline_function
    def forward(x, seed):
        return _values(segments, x, True, seed)[1:]

    @noinline_function
    def backward(values, seed, of_outputs):
        weights = variables()
        of_values = [None] * (1 + sum(segment.num_outputs for segment in segments))
        for i, gradient in zip(outputs, of_outputs):
            of_values[i] = _sum(of_values[i], gradient)
        of_weights = [None] * len(weights)
        for segment in reversed(segments):
            of_values, gradients = of_values[: -segment.num_outputs], of_values[-segment.num_outputs :]
            inputs = after(gradients, [values[n] for n in segment.inputs])  # not before its turn
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(inputs + weights)
                results = segment.compute(inputs, True, seed)
            found = tape.gradient(results, inputs + weights, output_gradients=gradients)
            for n, of_one in zip(segment.inputs, found):
                of_values[n] = _sum(of_values[n], of_one)
            of_weights = [_sum(*pair) for pair in zip(of_weights, found[len(inputs) :])]
        return of_values + of_weights

    def call(x, seed):
        @tf.custom_gradient
        def connected(x):
            with record.stop_recording():
                values = [x, *forward(x, seed)]

            # Only of variables that the segments read; if they read none, there is no such argument.
            def gradient(*of_outputs, variables=()):
                needed = values[: -segments[-1].num_outputs]
                of_input, *of_weights = backward(needed, seed, list(of_outputs))
                return of_input, [of_weights[order[id(variable.handle)]] for variable in variables]

            return [values[i] for i in outputs], gradient

        # By handle: under mixed precision the variables of layers are wrapped, and these are not.
        order = {id(variable.handle): i for i, variable in enumerate(variables())}
        return connected(x)

    in_graph = tf.function(call, autograph=False)
    # Outside a graph, TensorFlow does not see which variables the function reads.
    return lambda x, seed: in_graph(x, seed) if tf.executing_eagerly() else call(x, seed)


def _sum(one: Optional[tf.Tensor], other: Optional[tf.Tensor]) -> Optional[tf.Tensor]:
    return other if one is None else one if other is None else one + other

"""Networks in segments: functions that a graph holds once, and whose activations gradients can compute again."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Optional

import tensorflow as tf
from tensorflow.python.eager import record

from cyclegan_tf.networks.layers import called
from cyclegan_tf.ordering import after, inside_xla


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a network.

    Attributes:
        function: (*inputs, training=..., seed=...) -> output; with the same arguments it has to come to the same.
        inputs: which values it starts from: 0 is the network's input, n the output of segment n - 1.
        pattern: (*inputs, *own(), training=..., seed=...) -> the same output, where other segments do the same with
            other weights; those have an equal pattern.
        own: -> what makes this one of the pattern, its weights above all.
        inline: it stands in the caller's graph; there, other than in a function, the gradient of an input that nobody
            asks for is not computed.
    """

    function: Callable[..., tf.Tensor]
    inputs: tuple[int, ...]
    pattern: Optional[Callable[..., tf.Tensor]] = None
    own: Callable[[], Sequence[tf.Tensor]] = tuple
    inline: bool = False


def run(
    segments: Sequence[Segment], x: tf.Tensor, training: bool = False, seed: Optional[tf.Tensor] = None
) -> list[tf.Tensor]:
    """x and the outputs of all segments; the last is the network's."""
    values = [x]
    for segment in segments:
        values.append(segment.function(*(values[i] for i in segment.inputs), training=training, seed=seed))
    return values


Training = Callable[[tf.Tensor, Optional[tf.Tensor]], tf.Tensor]
"""(x, seed) -> the output of a network in training."""


def make_training(
    segments: Sequence[Segment],
    variables: Callable[[], list[tf.Variable]],
    whole: bool,
    recompute_grads: bool,
) -> Training:
    """The network in training.

    Args:
        segments: of the network.
        variables: -> its trainable ones.
        whole: a graph may hold the segments as functions, those of one pattern as one; not so with batch norm, which
            reduces over replicas.
        recompute_grads: gradients compute activations again; needs `whole`.
    """
    # A step calls each generator three times, and its blocks are alike. Traced and optimised once, it starts in a
    # fraction of the time. Not so with XLA, which has to know shapes and paddings when it compiles: a function's
    # gradient gets them from the function, among all other results; so XLA takes all that goes into the function for
    # constants, images and weights too, and compiles anew whenever one has changed: at every step.
    patterns = {pattern: called(pattern) for segment in segments if (pattern := segment.pattern)}

    def as_function(segment):
        if segment.pattern:
            return functools.partial(_call_pattern, patterns[segment.pattern], segment.own)
        # Where activations are computed again, what calls the segments is in the graph once itself.
        return segment.function if segment.inline or recompute_grads else called(segment.function)

    functions = [dataclasses.replace(segment, function=as_function(segment)) for segment in segments]
    if recompute_grads:
        in_functions, inline = _recomputed(functions, variables), _recomputed(segments, variables)
        return lambda x, seed: (inline if inside_xla() else in_functions)(x, seed)

    def train(x, seed):
        in_functions = whole and tf.inside_function() and not inside_xla()
        return run(functions if in_functions else segments, x, True, seed)[-1]

    return train


def _call_pattern(pattern, own, *inputs, training, seed):
    return pattern(*inputs, *own(), training=training, seed=seed)


def _recomputed(segments: Sequence[Segment], variables: Callable[[], list[tf.Variable]]) -> Training:
    """The network in training, of which only the values between segments are kept for the gradient (Chen et al. 2016).

    What is inside a segment is computed once more when the gradient comes to it. The way there and the way back are
    functions that TensorFlow leaves whole: it can neither merge what is computed twice nor compute it before its turn,
    and the network is in the graph once however often it is called, which saves memory too.
    """

    @called
    def forward(x, seed):
        return run(segments, x, True, seed)[1:]

    @called
    def backward(values, seed, gradient):
        weights = variables()
        of_values = [None] * len(segments) + [gradient]
        of_weights = [None] * len(weights)
        for i in reversed(range(len(segments))):
            segment, gradient = segments[i], of_values.pop()
            inputs = after([gradient], [values[n] for n in segment.inputs])  # not before its turn
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(inputs + weights)
                output = segment.function(*inputs, training=True, seed=seed)
            found = tape.gradient(output, inputs + weights, output_gradients=gradient)
            for n, of_one in zip(segment.inputs, found):
                of_values[n] = _sum(of_values[n], of_one)
            of_weights = [_sum(*pair) for pair in zip(of_weights, found[len(inputs) :])]
        return of_values + of_weights

    def call(x, seed):
        @tf.custom_gradient
        def connected(x):
            with record.stop_recording():
                values = forward(x, seed)

            def gradient(of_output, variables):
                of_input, *of_weights = backward([x, *values[:-1]], seed, of_output)
                return of_input, [of_weights[order[id(variable.handle)]] for variable in variables]

            return values[-1], gradient

        # By handle: under mixed precision the variables of layers are wrapped, and these are not.
        order = {id(variable.handle): i for i, variable in enumerate(variables())}
        return connected(x)

    return call


def _sum(one: Optional[tf.Tensor], other: Optional[tf.Tensor]) -> Optional[tf.Tensor]:
    return other if one is None else one if other is None else one + other

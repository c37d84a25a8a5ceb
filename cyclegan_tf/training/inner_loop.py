"""Training steps that run in a loop inside TensorFlow, without returning to Python."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import tensorflow as tf

from cyclegan_tf.models.base import BaseModel


def compile_steps(model: BaseModel, strategy: tf.distribute.Strategy) -> Callable:
    """Makes the function that runs the model's step in a loop.

    Returns:
        (iterator over distributed batches, int32 count) -> (metrics, float [count, metrics]; seconds spent waiting for
        images, float64).
    """

    def run_on_replicas(images):
        return strategy.experimental_local_results(strategy.run(model.train_step, args=images))[0]

    if model.compile_whole:
        run_on_replicas = tf.function(run_on_replicas, jit_compile=True, autograph=False)

    # Without AutoGraph, which would take time although there is nothing to rewrite.
    @functools.partial(tf.function, autograph=False)
    def run_steps(iterator, count):
        def run_one(i, results, waited):
            # The clock starts when the previous step is done, and stops when the images of this one have arrived.
            with tf.control_dependencies([results.flow]):
                start = _now()
            with tf.control_dependencies([start]):
                images = iterator.get_next()
            with tf.control_dependencies(tf.nest.flatten(images, expand_composites=True)):
                waited += _now() - start
            return i + 1, results.write(i, run_on_replicas(images)), waited

        results = tf.TensorArray(tf.keras.backend.floatx(), size=count, element_shape=[len(model.metric_names)])
        _, results, waited = tf.while_loop(
            lambda i, *_: i < count, run_one, [tf.zeros_like(count), results, tf.constant(0.0, tf.float64)]
        )
        return results.stack(), waited

    return run_steps


def _now() -> tf.Tensor:
    """The time in seconds, in a graph; TensorFlow refuses its own clock when operations must be deterministic."""
    return tf.ensure_shape(tf.numpy_function(time.monotonic, [], tf.float64), [])

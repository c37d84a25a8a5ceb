"""A convolution with its first and second derivatives."""

import tensorflow as tf


def with_gradients(convolve, x, kernel, signature=None, jit_compile=False):
    """The result, the gradients of a function of it, and those of a function of these."""

    def run(x, kernel):
        with tf.GradientTape() as outer:
            outer.watch([x, kernel])
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = convolve(x, kernel)
                value = tf.reduce_sum(y**3)
            first = tape.gradient(value, [x, kernel])
            length = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
        return [y, *first, *outer.gradient(length, [x, kernel])]

    return tf.function(run, signature, autograph=False, jit_compile=jit_compile)(x, kernel)

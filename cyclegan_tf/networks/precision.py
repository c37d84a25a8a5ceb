"""What is computed in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cyclegan_tf.errors import UserError

PRECISIONS = ('float32', 'bfloat16', 'float16')


@contextlib.contextmanager
def computed_in(precision: str) -> Iterator[None]:
    """Layers made meanwhile compute in this precision; their weights are float32.

    Norms take their statistics in float32 all the same, and networks make their results float32.

    Raises:
        UserError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision '{precision}' is not one of: {', '.join(PRECISIONS)}.")
    before = tf.keras.mixed_precision.global_policy()
    if precision != 'float32':
        tf.keras.mixed_precision.set_global_policy(f'mixed_{precision}')
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def full_precision(x: tf.Tensor) -> tf.Tensor:
    """Float32 of a tensor in half precision, which does not hold a sum over all pixels; others as they are."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.bfloat16, tf.float16) else x

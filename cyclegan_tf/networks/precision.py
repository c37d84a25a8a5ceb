"""The precision in which networks compute."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cyclegan_tf.errors import UserError

PRECISIONS = ('float32', 'bfloat16', 'float16')


@contextlib.contextmanager
def computed_in(precision: str) -> Iterator[None]:
    """A context: layers made within it compute in this precision, with weights in float32.

    Norms still compute their statistics in float32, and networks convert their outputs to float32.

    Raises:
        UserError: the precision is unknown.
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
    """Converts half precision, which cannot hold a sum over all pixels, to float32; returns other tensors unchanged."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.bfloat16, tf.float16) else x

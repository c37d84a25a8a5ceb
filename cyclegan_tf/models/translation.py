"""A direction of translation: from one of the data set's domains to the other, by one of the model's networks."""

from __future__ import annotations

import dataclasses
from typing import Optional

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Translation:
    """Images of one domain -> images of another, in the data set's names, whatever --direction the run has.

    Attributes:
        name: name of the translation, such as 'AtoB'.
        network: float [b, h, w, channels of the source] in [-1, 1] -> float [b, h, w, channels of the target].
        network_name: its name in the reference, such as 'G_A'.
        source, target: the data set's domains, 'A' and 'B'.
        channels: numbers of channels of the input and the output images.
        inverse: name of the inverse translation; None if the model has none, and so no reconstruction.
    """

    name: str
    network: tf.keras.Model
    network_name: str
    source: str
    target: str
    channels: tuple[int, int]
    inverse: Optional[str]

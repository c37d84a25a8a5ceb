"""One way that a model translates images: from which of the data set's domains to which, by which network."""

from __future__ import annotations

import dataclasses
from typing import Optional

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Translation:
    """Images of one domain to images of another, in the data set's names, whatever --direction the run had.

    Attributes:
        name: as in 'AtoB'.
        network: float [b, h, w, channels of the source] in [-1, 1] -> float [b, h, w, channels of the target].
        network_name: as the reference calls it: 'G_A'.
        source, target: the data set's domains, 'A' and 'B'.
        channels: of the images in and out.
        inverse: the name of the translation back; None where the model has none: then there is no reconstruction.
    """

    name: str
    network: tf.keras.Model
    network_name: str
    source: str
    target: str
    channels: tuple[int, int]
    inverse: Optional[str]

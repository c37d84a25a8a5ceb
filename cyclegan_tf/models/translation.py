"""One way that a model translates images: from which of the data set's domains to which, by which network."""

from __future__ import annotations

import dataclasses
from typing import Optional

import tensorflow as tf

from cyclegan_tf.config import Config


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


def translating_networks(config: Config) -> dict[str, str]:
    """Which networks translate, without building them: 'AtoB' -> 'G_A' and so on, in the order of the names.

    This is the one place that knows directions: a model's own A is the data set's B where the run's --direction is
    BtoA, and then it is G_B that makes B of A.
    """
    domains = dict(zip('AB', config.domains))
    found = {
        f'{domains[role.inputs[0]]}to{domains[role.output]}': name
        for name, role in config.networks.items()
        if role.kind == 'generator'
    }
    return dict(sorted(found.items()))

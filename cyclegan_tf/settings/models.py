"""The settings that each model adds to those of all models, and the shared defaults that it changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import setting
from cyclegan_tf.settings.training import Config, NetworkRole


@dataclasses.dataclass(frozen=True)
class CycleGANConfig(Config):
    """The settings of a run of CycleGAN."""

    networks: ClassVar[Mapping[str, NetworkRole]] = {
        'G_A': NetworkRole('generator', ('A',), 'B'),
        'G_B': NetworkRole('generator', ('B',), 'A'),
        'D_A': NetworkRole('discriminator', ('B',)),
        'D_B': NetworkRole('discriminator', ('A',)),
    }
    test_errors: ClassVar[tuple[str, ...]] = ('cycle', 'identity')

    lambda_A: float = setting(10.0, 'weight of the cycle loss A -> B -> A', minimum=0.0)
    lambda_B: float = setting(10.0, 'weight of the cycle loss B -> A -> B', minimum=0.0)
    lambda_identity: float = setting(
        0.5, 'weight of the identity losses, relative to lambda_B and lambda_A; 0: none', minimum=0.0
    )

    def __post_init__(self):
        super().__post_init__()
        if self.lambda_identity > 0 and self.input_nc != self.output_nc:
            raise UserError(
                f'`lambda_identity` ({self.lambda_identity}) needs equal channels, but input_nc is {self.input_nc} '
                f'and output_nc {self.output_nc}; set lambda_identity to 0.'
            )


SETTINGS: dict[str, type[Config]] = {'cycle_gan': CycleGANConfig}


def owners() -> dict[str, tuple[str, ...]]:
    """The fields that not every model has -> the models that have them."""
    shared = {field.name for field in dataclasses.fields(Config)}
    models_of: dict[str, tuple[str, ...]] = {}
    for model, config_class in SETTINGS.items():
        for field in dataclasses.fields(config_class):
            if field.name not in shared:
                models_of[field.name] = (*models_of.get(field.name, ()), model)
    return models_of

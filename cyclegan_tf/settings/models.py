"""The settings that each model adds to those of all models, and the shared defaults that it changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import changed, setting
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


@dataclasses.dataclass(frozen=True)
class Pix2PixConfig(Config):
    """The settings of a run of pix2pix; defaults are the reference's."""

    networks: ClassVar[Mapping[str, NetworkRole]] = {
        'G': NetworkRole('generator', ('A',), 'B'),
        'D': NetworkRole('discriminator', ('A', 'B')),
    }

    dataset_mode: str = changed(Config, 'dataset_mode', 'aligned')
    netG: str = changed(Config, 'netG', 'unet_256')
    norm: str = changed(Config, 'norm', 'batch')
    no_dropout: bool = changed(Config, 'no_dropout', False)
    gan_mode: str = changed(Config, 'gan_mode', 'vanilla')
    pool_size: int = changed(Config, 'pool_size', 0)
    batch_statistics: bool = changed(Config, 'batch_statistics', True)
    test_dropout: bool = changed(Config, 'test_dropout', True)
    lambda_L1: float = setting(100.0, 'weight of the distance between a translation and its counterpart', minimum=0.0)

    def __post_init__(self):
        super().__post_init__()
        if not self.paired:
            raise UserError(
                f'`dataset_mode` ({self.dataset_mode}) has no pairs, from which pix2pix learns; set it to aligned or '
                f'paired, or --model to cycle_gan or cut.'
            )
        _refuse_pool(self)


@dataclasses.dataclass(frozen=True)
class CUTConfig(Config):
    """The settings of a run of CUT or FastCUT; defaults are those of its authors' program."""

    networks: ClassVar[Mapping[str, NetworkRole]] = {
        'G': NetworkRole('generator', ('A',), 'B'),
        'F': NetworkRole('patch_features', ()),
        'D': NetworkRole('discriminator', ('B',)),
    }
    other_names: ClassVar[Mapping[str, tuple[str, str, str]]] = {
        'no_antialias': ('downsample', 'stride', 'antialias'),
        'no_antialias_up': ('upsample', 'deconv', 'antialias'),
    }
    jitter_ends: ClassVar[bool] = True

    upsample: str = changed(Config, 'upsample', 'antialias')
    downsample: str = changed(Config, 'downsample', 'antialias')
    init_type: str = changed(Config, 'init_type', 'xavier')
    pool_size: int = changed(Config, 'pool_size', 0)
    n_epochs: int = changed(Config, 'n_epochs', 200)
    n_epochs_decay: int = changed(Config, 'n_epochs_decay', 200)
    CUT_mode: str = setting(
        'CUT',
        'which defaults the flags have; FastCUT: lambda_NCE 10, nce_idt off, flip_equivariance on, n_epochs 150, '
        'n_epochs_decay 50',
        choices=('CUT', 'FastCUT', 'cut', 'fastcut'),
        fixed=True,
    )
    lambda_GAN: float = setting(1.0, "weight of the generator's adversarial loss", minimum=0.0)
    lambda_NCE: float = setting(1.0, 'weight of the contrastive loss between an image and its translation', minimum=0.0)
    nce_idt: bool = setting(
        True, 'contrastive loss also between an image of domain B and its translation, as an identity loss', fixed=True
    )
    nce_layers: str = setting(
        '0,4,8,12,16',
        "layers of the generator whose features are compared, by their numbers in the PyTorch program's sequence",
        fixed=True,
    )
    nce_includes_all_negatives_from_minibatch: bool = setting(
        False, 'compare the features of a position with those of all images of the batch, not of its own image alone'
    )
    nce_T: float = setting(0.07, 'temperature of the contrastive loss')
    num_patches: int = setting(256, 'number of positions in each layer whose features are compared', minimum=1)
    netF: str = setting(
        'mlp_sample',
        'network that makes features comparable; mlp_sample: two linear layers for each layer of features; sample: '
        'none',
        choices=('mlp_sample', 'sample'),
        fixed=True,
    )
    netF_nc: int = setting(256, 'number of features that mlp_sample gives', minimum=1, fixed=True)
    flip_equivariance: bool = setting(
        False, 'translate half of the batches mirrored, and compare their features mirrored back'
    )

    def __post_init__(self):
        if self.netG.startswith('unet'):
            raise UserError(
                f'`netG` ({self.netG}) is no sequence of layers, whose features CUT compares; set it to resnet_9blocks '
                f'or resnet_6blocks.'
            )
        super().__post_init__()
        if self.input_nc != self.output_nc:
            raise UserError(
                f'`input_nc` ({self.input_nc}) and `output_nc` ({self.output_nc}) differ, but the generator of CUT '
                f'reads its own translations, too; set them to the same number.'
            )
        _refuse_pool(self)
        if not self.lambda_NCE > 0:
            raise UserError(
                f'`lambda_NCE` ({self.lambda_NCE}) would leave nothing of CUT but an adversarial loss; raise it.'
            )
        if not self.nce_T > 0:
            raise UserError(f'`nce_T` ({self.nce_T}) is not above 0; raise it.')
        if self.nce_includes_all_negatives_from_minibatch and self.accumulate_steps > 1:
            raise UserError(
                f'`nce_includes_all_negatives_from_minibatch` (true) needs all images of the batch at once, but '
                f'accumulate_steps is {self.accumulate_steps}; set that to 1.'
            )
        _ = self.nce_indices  # raises UserError if they cannot be read

    @staticmethod
    def mode_defaults(values: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Config."""
        fast = {'lambda_NCE': 10.0, 'nce_idt': False, 'flip_equivariance': True, 'n_epochs': 150, 'n_epochs_decay': 50}
        return {**Config.mode_defaults(values), **(fast if values['CUT_mode'].lower() == 'fastcut' else {})}

    @property
    def nce_indices(self) -> tuple[int, ...]:
        """nce_layers as numbers."""
        parts = self.nce_layers.split(',')
        indices = tuple(int(part) for part in parts if part.strip().isdecimal())
        if len(indices) != len(parts) or list(indices) != sorted(set(indices)):
            raise UserError(
                f"`nce_layers` ('{self.nce_layers}') is not a list of ascending numbers of layers, as in 0,4,8,12,16; "
                f'correct it.'
            )
        return indices


def _refuse_pool(config: Config) -> None:
    if config.pool_size:
        raise UserError(
            f'`pool_size` ({config.pool_size}) keeps earlier translations, which model {config.model} has no use for; '
            f'set it to 0.'
        )


SETTINGS: dict[str, type[Config]] = {'cycle_gan': CycleGANConfig, 'pix2pix': Pix2PixConfig, 'cut': CUTConfig}


def owners() -> dict[str, tuple[str, ...]]:
    """The flags that not every model has, for fields and for other names of fields -> the models that have them."""
    shared = {field.name for field in dataclasses.fields(Config)}
    models_of: dict[str, tuple[str, ...]] = {}
    for model, config_class in SETTINGS.items():
        for name in (*(field.name for field in dataclasses.fields(config_class)), *config_class.other_names):
            if name not in shared:
                models_of[name] = (*models_of.get(name, ()), model)
    return models_of

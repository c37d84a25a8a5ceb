"""The settings of measuring a run."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.settings.fields import same, setting, split_names, validate_epoch, validate_fields
from cyclegan_tf.settings.training import MEASURES, Config, FeatureConfig
from cyclegan_tf.settings.translation import TranslateConfig


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(FeatureConfig):
    """What is measured, on which images."""

    name: str = same(Config, 'name')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    epoch: str = setting(
        'latest',
        "checkpoint to measure: 'latest', 'best', the number of an epoch, or 'all' for every one that there is",
    )
    verbose: bool = setting(False, 'print the traceback of an error')
    metrics: Optional[str] = setting(
        None,
        'measures, with commas between them: psnr and ssim (of pairs, images of one name in testA and testB), kid, fid '
        '(or none); unset: psnr,ssim if most images have a counterpart of the same size, else kid,fid. Cycle and '
        'identity errors of models that have them are always measured',
        group='evaluation',
    )
    phase: str = setting('test', 'part of the data set to measure on', group='data', choices=('train', 'test'))
    num_test: Optional[int] = setting(
        None, 'number of images of each domain to measure; unset: all', group='data', minimum=1
    )
    dataroot: Optional[str] = setting(
        None, 'images to measure on, named as for training; unset: those of the run', group='data'
    )
    data_dir: Optional[str] = same(TranslateConfig, 'data_dir')
    load_size: Optional[int] = setting(
        None,
        "side of the square, or width, to which images are resized; unset: the run's crop_size, or its load_size, as "
        'cyclegan_tf.translate has it',
        group='data',
        minimum=8,
    )
    results_dir: str = setting(
        './results', 'folder for metrics.json, which is put into NAME/eval_PHASE_EPOCH', group='files'
    )
    batch_size: int = setting(
        8,
        'most images that are translated at once, if they have one size and max_pixels allows it',
        group='devices',
        minimum=1,
    )
    max_pixels: Optional[int] = same(TranslateConfig, 'max_pixels')

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch, ('latest', 'best', 'all'))
        if self.metrics is not None:
            split_names('metrics', self.metrics, MEASURES)

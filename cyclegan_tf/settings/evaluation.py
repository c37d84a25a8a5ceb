"""The settings of evaluating a run."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import same, setting, split_names, validate_epoch, validate_fields
from cyclegan_tf.settings.training import MEASURES, Config, FeatureConfig
from cyclegan_tf.settings.translation import TranslateConfig, validate_eval

LABELS = 'labels'
ALL_MEASURES = (*MEASURES, LABELS)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(FeatureConfig):
    """What is measured, and on which images."""

    name: str = same(Config, 'name')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    epoch: str = setting(
        'latest',
        "checkpoint to measure: 'latest', 'best', the number of an epoch, or 'all' for every checkpoint of the run",
    )
    weights: str = same(TranslateConfig, 'weights')
    verbose: bool = setting(False, 'print the traceback of an error')
    metrics: Optional[str] = setting(
        None,
        'measures, separated by commas: psnr, ssim, edges and labels (of pairs: images of the same name in testA and '
        'testB; labels are the accuracies and the IoU of label maps), kid, fid; or none; unset: psnr,ssim,edges if '
        'images are pairs (see --pairs), else kid,fid. Cycle and identity errors are always measured if the model '
        'defines them',
        group='evaluation',
    )
    pairs: str = same(Config, 'pairs')
    palette: str = setting(
        'cityscapes',
        "colours of the label maps for the measure labels: cityscapes, or a text file of lines 'red,green,blue,class'",
        group='evaluation',
    )
    statistics: Optional[str] = setting(
        None,
        'file .npz of what kid and fid need to know of the real images, also as clean-fid and pytorch-fid write it; if '
        'there is none, it is made from the real images. With a run that translates both ways, {domain} in it becomes '
        'A or B',
        group='evaluation',
    )
    batch_statistics: Optional[bool] = same(TranslateConfig, 'batch_statistics')
    test_dropout: Optional[bool] = same(TranslateConfig, 'test_dropout')
    eval: bool = same(TranslateConfig, 'eval')
    seed: Optional[int] = same(TranslateConfig, 'seed')
    phase: str = setting(
        'test',
        'part of the data set to measure on; where a data set has no part test, that is its part val',
        group='data',
        choices=('train', 'val', 'test'),
    )
    num_test: Optional[int] = setting(
        None, 'number of images of each domain to measure; unset: all', group='data', minimum=1
    )
    fakes: Optional[str] = setting(
        None,
        'folder, or quoted pattern, of images to compare with those of --reals, without a run: by features, or by '
        'pairs of the same name',
        group='data',
    )
    reals: Optional[str] = setting(
        None, 'folder, or quoted pattern, of the images to compare --fakes with', group='data'
    )
    dataroot: Optional[str] = setting(
        None, 'images to measure on, specified as for training; unset: those of the run', group='data'
    )
    data_dir: Optional[str] = same(TranslateConfig, 'data_dir')
    load_size: Optional[int] = setting(
        None,
        "side of the square, or width, to which images are resized, in pixels; unset: the run's crop_size, or its "
        'load_size, as in cyclegan_tf.translate',
        group='data',
        minimum=8,
    )
    max_image_pixels: Optional[int] = same(TranslateConfig, 'max_image_pixels')
    results_dir: str = setting(
        './results', 'folder for the results; metrics.json is written to NAME/eval_PHASE_EPOCH in it', group='files'
    )
    batch_size: Optional[int] = setting(
        None,
        'maximum number of images that are translated in a batch, if they have the same size and max_pixels allows it; '
        'unset: as in cyclegan_tf.translate',
        group='devices',
        minimum=1,
    )
    max_pixels: Optional[int] = same(TranslateConfig, 'max_pixels')

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch, ('latest', 'best', 'all'))
        validate_eval(self)
        if self.reals and not self.fakes:
            raise UserError(f"`reals` ('{self.reals}') is compared with `fakes`, which is not set; set it.")
        if self.fakes and not self.reals and not self.statistics:
            raise UserError(
                f"`fakes` ('{self.fakes}') is compared with `reals` or `statistics`, which are not set; set one."
            )
        if self.metrics is not None:
            split_names('metrics', self.metrics, ALL_MEASURES)

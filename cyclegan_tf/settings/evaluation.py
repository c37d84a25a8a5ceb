"""The settings of measuring a run."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.settings.fields import setting, split_names, validate_epoch, validate_fields
from cyclegan_tf.settings.training import MEASURES, FeatureConfig


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(FeatureConfig):
    """What is measured, on which images."""

    name: str = setting('experiment_name', 'of the run: its directory is CHECKPOINTS_DIR/NAME')
    checkpoints_dir: str = setting('./checkpoints', 'where the directories of runs are')
    epoch: str = setting('latest', "'latest', 'best', the number of an epoch, or 'all' checkpoints that there are")
    metrics: Optional[str] = setting(
        None,
        'of psnr, ssim (of pairs: images of one name in testA and testB), kid, fid, with commas, or none; unset: '
        'psnr,ssim where most images have a counterpart, of their size, else kid,fid; cycle and identity errors '
        'of models that have them always',
    )
    phase: str = setting('test', 'which images of the data set', choices=('train', 'test'))
    num_test: Optional[int] = setting(None, 'images per domain; unset: all', minimum=1)
    dataroot: Optional[str] = setting(None, "where the images are; unset: where the run's were")
    data_dir: Optional[str] = setting(None, "where TensorFlow Datasets keeps data sets; unset: where the run's was")
    load_size: Optional[int] = setting(
        None,
        "images are resized to this square, or width; unset: the run's crop_size, or its load_size, as translate does",
        minimum=8,
    )
    batch_size: int = setting(8, 'images of one size that are translated at once, as far as max_pixels goes', minimum=1)
    max_pixels: Optional[int] = setting(
        None,
        'pixels that are translated at once; images with more are translated in tiles; unset: what fits into half of '
        "the machine's free memory; set it where a GPU has less",
        minimum=1,
    )
    results_dir: str = setting('./results', 'where metrics.json is put, in NAME/eval_PHASE_EPOCH')
    verbose: bool = setting(False, 'show tracebacks of errors')

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch, ('latest', 'best', 'all'))
        if self.metrics is not None:
            split_names('metrics', self.metrics, MEASURES)

"""The settings of measuring how far large folders of images are apart, on Apache Spark."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.archive import SparkConfig
from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.fields import same, setting, split_names
from cyclegan_tf.settings.training import FeatureConfig

MEASURES_OF_FEATURES = ('kid', 'fid')


@dataclasses.dataclass(frozen=True)
class SparkMeasureConfig(SparkConfig, FeatureConfig):
    """What is measured, and on which images."""

    fakes: str = setting(
        '',
        "images to compare with those of --reals: a folder, or a quoted pattern such as 'out/**.png'; also a URL, such "
        'as s3://BUCKET/out; required',
        group='data',
    )
    reals: str = setting('', 'the images to compare --fakes with, specified likewise; required', group='data')
    num_test: Optional[int] = setting(
        None, 'number of images of each to measure, counted from the first; unset: all', group='data', minimum=1
    )
    max_image_pixels: Optional[int] = same(EvaluateConfig, 'max_image_pixels')
    num_threads: int = setting(2, 'number of threads of each worker process that read images', group='data', minimum=1)
    metrics: str = setting('kid,fid', 'measures: kid, fid, or both, separated by a comma', group='evaluation')
    results_dir: str = setting(
        './results',
        'folder for the results, which all workers have to reach; metrics.json is written to folders in it, where the '
        'features of all images are kept while the program runs, 8 KiB for each with inception_v3',
        group='files',
    )

    def __post_init__(self):
        super().__post_init__()
        for flag in ('fakes', 'reals'):
            if not getattr(self, flag):
                raise UserError(f"`{flag}` ('') is required; set it to a folder of images.")
        if not self.measures:
            raise UserError('`metrics` (none) leaves nothing to measure; set it to kid, fid or kid,fid.')
        if '://' in self.results_dir:
            raise UserError(
                f"`results_dir` ('{self.results_dir}') has to be a path, which all workers reach; mount it, or set it "
                f'to another.'
            )

    @property
    def measures(self) -> tuple[str, ...]:
        """Names among kid and fid."""
        return split_names('metrics', self.metrics, MEASURES_OF_FEATURES)

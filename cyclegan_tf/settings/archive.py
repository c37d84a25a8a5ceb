"""The settings of translating an archive, image files that one machine would not translate in time, on Apache Spark."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import same, setting, validate_epoch, validate_fields
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig, parse_size, validate_eval

_MASTERS = r'(local(\[([1-9]\d*|\*)(,[1-9]\d*)?\])?|local-cluster\[\d+,\d+,\d+\]|yarn|spark://.+|k8s://.+)$'
_OF_RUNS = (
    'direction', 'epoch', 'weights', 'batch_statistics', 'test_dropout', 'eval', 'seed', 'precision',
    'emulate_precision', 'max_pixels',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SparkConfig:
    """Where and how wide the work is spread."""

    master: Optional[str] = setting(
        None,
        "Spark's cluster, such as local[4], spark://HOST:7077, yarn or k8s://https://HOST:443; unset: that of "
        'spark-submit, and without spark-submit all cores of this machine',
        group='devices',
    )
    partitions: Optional[int] = setting(
        None,
        'number of parts that the work is divided into, of which each is repeated as a whole if it fails; unset: as '
        'many as have about 200 files each, but four for each worker process',
        group='devices',
        minimum=1,
    )
    cores_per_worker: int = setting(
        1,
        'number of cores that a worker process computes with (spark.task.cpus); there are as many processes as fit '
        "Spark's cores",
        group='devices',
        minimum=1,
    )
    max_failures: int = setting(
        4, 'how often a part may fail until all is given up (spark.task.maxFailures)', group='devices', minimum=1
    )
    verbose: bool = setting(False, "show Spark's messages, and the traceback of an error")

    def __post_init__(self):
        validate_fields(self)
        if self.master is not None and not re.match(_MASTERS, self.master):
            raise UserError(
                f"`master` ('{self.master}') is none of Spark's: local[4], spark://HOST:7077, yarn, k8s://ADDRESS; "
                f'correct it.'
            )
        cores = re.match(r'local\[(\d+)', self.master or '')
        if cores and int(cores[1]) < self.cores_per_worker:
            raise UserError(
                f'`cores_per_worker` ({self.cores_per_worker}) is more than `master` ({self.master}) has; lower it.'
            )


@dataclasses.dataclass(frozen=True)
class ArchiveConfig(SparkConfig):
    """Which model translates which files, and where the results go."""

    name: str = setting('', 'run whose generator translates')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    model_dir: Optional[str] = setting(
        None, 'folder of a model that cyclegan_tf.export has written as a saved_model, to use instead of a run'
    )
    epoch: str = same(TranslateConfig, 'epoch')
    weights: str = same(TranslateConfig, 'weights')
    direction: Optional[str] = setting(
        None,
        "direction of the translation between the data set's folders; unset: the run's first; an exported model has "
        'only one',
        choices=('AtoB', 'BtoA'),
    )
    # ----------------------------------------------------------------------------------------------------------- data
    input: str = setting(
        '',
        "images to translate: a folder, or a quoted pattern such as 'in/**.jpg'; also a URL, such as s3://BUCKET/in; "
        'required',
        group='data',
    )
    resize: Optional[str] = same(TranslateConfig, 'resize')
    num_test: Optional[int] = setting(
        None, 'number of images to translate, counted from the first; unset: all', group='data', minimum=1
    )
    max_image_pixels: Optional[int] = same(TranslateConfig, 'max_image_pixels')
    color_profile: str = same(TranslateConfig, 'color_profile')
    num_threads: int = setting(
        2,
        'number of threads of each worker process that read images, and of threads that write them',
        group='data',
        minimum=1,
    )
    # ----------------------------------------------------------------------------------------------------- evaluation
    batch_statistics: Optional[bool] = same(TranslateConfig, 'batch_statistics')
    test_dropout: Optional[bool] = same(TranslateConfig, 'test_dropout')
    eval: bool = same(TranslateConfig, 'eval')
    seed: Optional[int] = same(TranslateConfig, 'seed')
    # ---------------------------------------------------------------------------------------------------------- files
    output: str = setting(
        '',
        'folder for the results, which all workers have to reach; also a URL, with files as --output_format; required',
        group='files',
    )
    output_format: str = setting(
        'files',
        'what is written; files: a picture for each image, as cyclegan_tf.translate names and stores it; records: a '
        'prepared data set of PNGs, as tools/prepare_records.py makes it',
        group='files',
        choices=('files', 'records'),
    )
    output_depth: str = same(TranslateConfig, 'output_depth')
    picture_format: str = dataclasses.field(
        default='auto', metadata=TranslateConfig.__dataclass_fields__['output_format'].metadata
    )
    dataset_name: str = setting(
        'translated', 'with --output_format=records: name of the data set, made of a-z, 0-9 and _', group='files'
    )
    split: str = setting(
        'test', 'with --output_format=records: name of the only split of the data set, such as trainB', group='files'
    )
    file_format: str = setting(
        'array_record',
        'with --output_format=records: format of the files; array_record is made for random access',
        group='files',
        choices=('array_record', 'tfrecord'),
    )
    # -------------------------------------------------------------------------------------------------------- devices
    precision: str = same(TranslateConfig, 'precision')
    emulate_precision: bool = same(TranslateConfig, 'emulate_precision')
    max_pixels: Optional[int] = setting(
        None,
        'maximum number of pixels translated in one piece; larger images are translated in tiles; unset: what fits '
        "into half of the machine's free memory, divided by the number of its cores and multiplied by "
        'cores_per_worker',
        group='devices',
        minimum=1,
    )
    batch_size: Optional[int] = same(TranslateConfig, 'batch_size')

    def __post_init__(self):
        super().__post_init__()
        validate_epoch(self.epoch)
        validate_eval(self)
        for flag in ('input', 'output'):
            if not getattr(self, flag):
                raise UserError(f"`{flag}` ('') is required; set it to a folder.")
        if bool(self.name) == bool(self.model_dir):
            given = f"`name` ('{self.name}') and `model_dir` ('{self.model_dir or ''}')"
            raise UserError(f'{given} name the model; set exactly one of them.')
        if self.output_format == 'records':
            if self.picture_format == 'tiff' or self.output_depth == 'float':
                raise UserError('`output_format` (records) stores PNGs; leave picture_format and output_depth out.')
            if '://' in self.output:
                raise UserError(f"`output` ('{self.output}') has to be a path for records; mount it, or write files.")
            if not re.fullmatch('[a-z][a-z0-9_]*', self.dataset_name):
                raise UserError(
                    f"`dataset_name` ('{self.dataset_name}') is not made of a-z, 0-9 and _ with a letter first; "
                    f'correct it.'
                )
            if not re.fullmatch('[a-zA-Z][a-zA-Z0-9_]*', self.split):
                raise UserError(f"`split` ('{self.split}') is not made of letters, digits and _; correct it.")
        for field in dataclasses.fields(self):
            if self.model_dir and field.name in _OF_RUNS and getattr(self, field.name) != field.default:
                raise UserError(
                    f'`{field.name}` ({getattr(self, field.name)}) is for runs; an exported model has its own: '
                    f'leave it out.'
                )
        _ = self.resized  # raises UserError if `resize` cannot be read

    @property
    def resized(self) -> Optional[tuple[int, int]]:
        """Width and height to which images are resized, or None."""
        return parse_size(self.resize)

    def output_of(self, value_range: Any) -> tuple[Any, ...]:
        """The arguments of translation.output.Output for results whose values have a range."""
        return self.output_depth, 'png' if self.output_format == 'records' else self.picture_format, value_range

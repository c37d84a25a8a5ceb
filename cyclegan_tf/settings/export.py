"""The settings of exporting a run's generators."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import PRECISIONS, same, setting, validate_epoch, validate_fields
from cyclegan_tf.settings.training import Config

FORMATS = ('saved_model', 'tflite', 'onnx')
QUANTIZATIONS = ('none', 'float16', 'dynamic')

# Settings without a meaning for the other formats.
_ONLY_FOR = {
    'version': 'saved_model',
    'precision': 'saved_model',
    'max_pixels': 'saved_model',
    'image_size': 'tflite',
    'quantize': 'tflite',
}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What an export is made from."""

    name: str = same(Config, 'name')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    epoch: str = setting(
        'latest', "checkpoint to export: 'latest', 'best' (see --keep_best of training), or the number of an epoch"
    )
    direction: Optional[str] = setting(
        None,
        "direction of the exported translation in terms of the data set's folders, whatever the run was trained with; "
        'unset: all directions of which the run has weights',
        choices=('AtoB', 'BtoA', 'both'),
    )
    verbose: bool = setting(False, 'print the traceback of an error')
    # ---------------------------------------------------------------------------------------------------------- files
    output: str = setting(
        '',
        'folder for the models, OUTPUT/NAME_DIRECTION/VERSION or OUTPUT/NAME_DIRECTION.FORMAT; required',
        group='run',
    )
    format: str = setting(
        'saved_model',
        'file format; saved_model: for TensorFlow Serving and TensorFlow; tflite: for phones (LiteRT); onnx: for other '
        'runtimes',
        group='run',
        choices=FORMATS,
    )
    version: Optional[int] = setting(
        None,
        'number of the version of a saved_model, of which a server takes the highest; unset: the next free number',
        group='files',
        minimum=1,
    )
    warmup: bool = setting(
        True, 'add to a saved_model requests with which TensorFlow Serving warms it up before it answers', group='files'
    )
    results_dir: str = setting(
        './results',
        'folder where cyclegan_tf.translate and cyclegan_tf.evaluate have put measures, for the model card',
        group='files',
    )
    # ------------------------------------------------------------------------------------------------------- networks
    precision: str = setting(
        'float32',
        'number format of the stored weights and of the convolutions of a saved_model',
        group='networks',
        choices=PRECISIONS,
    )
    max_pixels: int = setting(
        16_000_000,
        'most pixels of an image that a saved_model takes; it refuses larger ones',
        group='networks',
        minimum=64,
    )
    image_size: int = setting(
        256, 'height and width of the images that a model of --format=tflite takes', group='networks', minimum=1
    )
    quantize: str = setting(
        'none',
        'weights of --format=tflite; float16: half the size; dynamic: a quarter of the size, computed in 8 bits',
        group='networks',
        choices=QUANTIZATIONS,
    )

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch)
        if not self.output:
            raise UserError("`output` ('') is required; set it to the directory that is to hold the models.")
        for field in dataclasses.fields(self):
            value, wanted = getattr(self, field.name), _ONLY_FOR.get(field.name, self.format)
            if self.format != wanted and value != field.default:
                raise UserError(f'`{field.name}` ({value}) is for format {wanted}; leave it out.')

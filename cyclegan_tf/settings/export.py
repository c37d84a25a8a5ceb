"""The settings of exporting a run's generators."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import PRECISIONS, same, setting, validate_epoch, validate_fields
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig

FORMATS = ('saved_model', 'tflite', 'onnx')
QUANTIZATIONS = ('none', 'float16', 'dynamic')

# Settings that apply to one format only -> that format.
_ONLY_FOR = {
    'version': 'saved_model',
    'precision': 'saved_model',
    'max_pixels': 'saved_model',
    'image_size': 'tflite',
    'quantize': 'tflite',
}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What is exported, and in which form."""

    name: str = same(Config, 'name')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    epoch: str = setting(
        'latest', "checkpoint to export: 'latest', 'best' (see --keep_best of training), or the number of an epoch"
    )
    weights: str = same(TranslateConfig, 'weights')
    direction: Optional[str] = setting(
        None,
        "direction of the exported translation between the data set's folders, whatever direction the run was trained "
        'with; unset: all directions for which the run has weights',
        choices=('AtoB', 'BtoA', 'both'),
    )
    verbose: bool = setting(False, 'print the traceback of an error')
    # ---------------------------------------------------------------------------------------------------------- files
    output: str = setting(
        '',
        'folder for the models, which become OUTPUT/NAME_DIRECTION/VERSION or OUTPUT/NAME_DIRECTION.FORMAT; required',
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
        'version number of a saved_model; a server serves the highest one; unset: the next free number',
        group='files',
        minimum=1,
    )
    warmup: bool = setting(
        True, 'add warm-up requests to a saved_model, which TensorFlow Serving runs before it answers', group='files'
    )
    results_dir: str = setting(
        './results',
        'folder with the results of cyclegan_tf.translate and cyclegan_tf.evaluate; their measures go into the model '
        'card',
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
        'maximum number of pixels of an image for a saved_model, which refuses larger images',
        group='networks',
        minimum=64,
    )
    image_size: int = setting(
        256, 'height and width of the input images of a model of --format=tflite', group='networks', minimum=1
    )
    quantize: str = setting(
        'none',
        'quantisation of the weights of --format=tflite; float16: half the size; dynamic: a quarter of the size, '
        'computed in 8 bits',
        group='networks',
        choices=QUANTIZATIONS,
    )

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch)
        if not self.output:
            raise UserError("`output` ('') is required; set it to the directory for the models.")
        for field in dataclasses.fields(self):
            value, wanted = getattr(self, field.name), _ONLY_FOR.get(field.name, self.format)
            if self.format != wanted and value != field.default:
                raise UserError(f'`{field.name}` ({value}) is for format {wanted}; leave it out.')

"""The settings of exporting a run's generators."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import setting, validate_epoch, validate_fields

FORMATS = ('saved_model', 'tflite', 'onnx')
PRECISIONS = ('float32', 'bfloat16', 'float16')
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

    name: str = setting('experiment_name', 'of the run: its directory is CHECKPOINTS_DIR/NAME')
    checkpoints_dir: str = setting('./checkpoints', 'where the directories of runs are')
    output: str = setting(
        '', 'where to: the models are OUTPUT/NAME_DIRECTION/VERSION, or OUTPUT/NAME_DIRECTION.FORMAT; required'
    )
    format: str = setting(
        'saved_model',
        'saved_model: for TensorFlow Serving and TensorFlow; tflite: for phones (LiteRT); onnx',
        choices=FORMATS,
    )
    direction: Optional[str] = setting(
        None,
        "names the data set's folders, whatever the run's own was; unset: all that the run has weights of",
        choices=('AtoB', 'BtoA', 'both'),
    )
    epoch: str = setting('latest', "'latest', 'best' (see keep_best of training), or the end of this epoch")
    version: Optional[int] = setting(
        None, 'a number, of which a server takes the highest; unset: the next that is free', minimum=1
    )
    precision: str = setting(
        'float32', 'of the weights on the disk and of the convolutions', choices=PRECISIONS
    )
    max_pixels: int = setting(16_000_000, 'of one image; the model refuses images with more', minimum=64)
    warmup: bool = setting(True, 'add requests with which TensorFlow Serving warms the model up')
    image_size: int = setting(256, 'height and width of the images of format tflite', minimum=1)
    quantize: str = setting(
        'none',
        'weights of format tflite; float16: half the size; dynamic: a quarter, and computed in 8 bits',
        choices=QUANTIZATIONS,
    )
    results_dir: str = setting('./results', 'where translate and evaluate put their measures, for the model card')
    verbose: bool = setting(False, 'show tracebacks of errors')

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch)
        if not self.output:
            raise UserError("`output` ('') is required; set it to the directory that is to hold the models.")
        for field in dataclasses.fields(self):
            value, wanted = getattr(self, field.name), _ONLY_FOR.get(field.name, self.format)
            if self.format != wanted and value != field.default:
                raise UserError(f'`{field.name}` ({value}) is for format {wanted}; leave it out.')

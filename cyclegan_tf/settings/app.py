"""The settings of the page in the browser."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.export import ExportConfig
from cyclegan_tf.settings.fields import same, setting, validate_fields
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig


@dataclasses.dataclass(frozen=True)
class AppConfig:
    """Which models the page offers, and to whom."""

    name: str = setting('', 'run that is shown first; unset: the first of checkpoints_dir')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    model_dir: Optional[str] = setting(
        None,
        'folder of a model that cyclegan_tf.export has written as a saved_model, or a folder of several of them, to '
        'use instead of runs',
    )
    address: str = setting(
        '127.0.0.1',
        'address that the page answers at; 127.0.0.1: only this machine reaches it; 0.0.0.0: so does everybody who '
        'reaches this machine',
    )
    port: int = setting(7860, 'port that the page answers at; 0: any that is free', minimum=0)
    verbose: bool = setting(False, 'print the traceback of an error')
    # ----------------------------------------------------------------------------------------------------------- data
    max_upload_mb: int = setting(100, 'maximum size of a file that is uploaded, in MiB', group='data', minimum=1)
    max_image_pixels: int = setting(
        100_000_000, 'maximum number of pixels of a picture that is uploaded', group='data', minimum=1
    )
    max_video_seconds: int = setting(
        60, 'maximum length of a video that is uploaded, in seconds', group='data', minimum=1
    )
    color_profile: str = same(TranslateConfig, 'color_profile')
    num_examples: int = setting(
        12, "number of the run's test images that are offered as examples of each domain", group='data', minimum=0
    )
    # ---------------------------------------------------------------------------------------------------------- files
    results_dir: str = setting(
        ExportConfig.results_dir,
        'folder with the results of cyclegan_tf.translate and cyclegan_tf.evaluate, whose measures are shown',
        group='files',
    )
    # -------------------------------------------------------------------------------------------------------- devices
    precision: str = same(TranslateConfig, 'precision')
    emulate_precision: bool = same(TranslateConfig, 'emulate_precision')
    max_pixels: Optional[int] = same(TranslateConfig, 'max_pixels')
    kept_models: int = setting(
        2, 'number of models that are kept in memory, those used last', group='devices', minimum=1
    )

    def __post_init__(self):
        validate_fields(self)
        if self.port > 65535:
            raise UserError(f'`port` ({self.port}) is above 65535; lower it.')
        if self.model_dir and self.name:
            raise UserError(
                f"`name` ('{self.name}') and `model_dir` ('{self.model_dir}') exclude each other; leave one out."
            )

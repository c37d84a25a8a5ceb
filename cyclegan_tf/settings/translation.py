"""The settings of translating images."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import PRECISIONS, WEIGHTS, same, setting, validate_epoch, validate_fields
from cyclegan_tf.settings.training import Config


def validate_eval(settings: Any) -> None:
    """Raises UserError if --eval contradicts another flag."""
    for name in ('batch_statistics', 'test_dropout'):
        if settings.eval and getattr(settings, name):
            raise UserError(f'`eval` (true) turns `{name}` off, which is set to true; leave out one of them.')


def at_test_time(settings: Any) -> dict[str, Any]:
    """The arguments of Translator.from_checkpoint that the flags weights, batch_statistics, test_dropout, eval and seed
    set."""
    given = {name: getattr(settings, name) for name in ('weights', 'batch_statistics', 'test_dropout', 'seed')}
    return {**given, 'batch_statistics': False, 'test_dropout': False} if settings.eval else given


def parse_size(value: Optional[str]) -> Optional[tuple[int, int]]:
    """'640x480' -> (640, 480); None -> None.

    Raises:
        UserError: it is not a width and a height.
    """
    if value is None:
        return None
    parts = value.lower().split('x')
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"`resize` ('{value}') is not 'WIDTHxHEIGHT' in pixels, as in 640x480; correct it.")
    return int(parts[0]), int(parts[1])


def parse_shard(value: Optional[str]) -> Optional[tuple[int, int]]:
    """'3/16' -> (3, 16), the fourth of sixteen shards; None -> None.

    Raises:
        UserError: it is no shard.
    """
    if value is None:
        return None
    found = re.fullmatch(r'(\d+)/(\d+)', value)
    number, shards = (int(found[1]), int(found[2])) if found else (0, 0)
    if number >= shards:
        raise UserError(
            f"`shard` ('{value}') is not NUMBER/SHARDS, counted from 0, as in 0/16 for the first and 15/16 for the "
            f'last of 16; correct it.'
        )
    return number, shards


@dataclasses.dataclass(frozen=True)
class TranslateConfig:
    """What is translated, the files of --input or a run's test images, and how."""

    name: str = same(Config, 'name')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    epoch: str = setting(
        'latest',
        "checkpoint to translate with: 'latest', 'best' (see --keep_best of training), or the number of an epoch",
    )
    weights: str = setting(
        'average',
        'which weights of a run with --ema_decay are used; average: their running mean; last: those of the last step. '
        'Other runs have only these',
        choices=WEIGHTS,
    )
    direction: Optional[str] = setting(
        None,
        "direction of the translation between the data set's folders, whatever direction the run was trained with; "
        'unset: all directions of the run, but with --input only the first',
        choices=('AtoB', 'BtoA', 'both'),
    )
    verbose: bool = setting(False, 'print what was chosen for this machine, and the traceback of an error')
    # ----------------------------------------------------------------------------------------------------------- data
    input: Optional[str] = setting(
        None,
        "images or videos to translate: a file, a folder, or a quoted pattern such as 'in/*.jpg'; for a run of several "
        "input folders, as many of these separated by commas; unset: the run's test images, with a results page",
        group='data',
    )
    resize: Optional[str] = setting(
        None,
        "size to which the images of --input are resized first, 'WIDTHxHEIGHT' in pixels; unset: they keep their size",
        group='data',
    )
    # Departs from the reference: its default is 50, which surprises users who have more images.
    num_test: Optional[int] = setting(
        None,
        'number of images to translate of each domain, or of --input, counted from the first; unset: all (the PyTorch '
        'program: 50)',
        group='data',
        minimum=1,
    )
    shard: Optional[str] = setting(
        None,
        "translate only one part of --input, 'NUMBER/SHARDS', as in 0/16 for the first and 15/16 for the last of 16; "
        'images whose results are there already are left out',
        group='data',
    )
    phase: str = setting(
        'test',
        'part of the data set to translate; where a data set has no part test, that is its part val',
        group='data',
        choices=('train', 'val', 'test'),
    )
    dataroot: Optional[str] = setting(
        None, 'images to translate, specified as for training; unset: those of the run', group='data'
    )
    dataset_mode: Optional[str] = setting(
        None,
        'how the images are stored; unaligned, aligned, paired: as in training; single: in the folder dataroot itself, '
        "all of one domain, to be translated in one direction; unset: the run's mode",
        group='data',
        choices=('unaligned', 'aligned', 'paired', 'single'),
    )
    data_dir: Optional[str] = setting(
        None, "folder where TensorFlow Datasets keeps its data sets; unset: the run's", group='data'
    )
    max_image_pixels: Optional[int] = setting(
        None,
        "maximum number of pixels that an image file may claim, as a protection against broken files; unset: the run's",
        group='data',
        minimum=1,
    )
    color_profile: str = setting(
        'keep',
        "colours of images with an ICC profile; keep: the result keeps the image's profile if it has the same colour "
        'space, otherwise the image is converted to sRGB; srgb: all images are converted to sRGB',
        group='data',
        choices=('keep', 'srgb'),
    )
    pairs: str = same(Config, 'pairs')
    load_size: Optional[int] = setting(
        None,
        "side of the square, or width, to which images are resized, in pixels; unset: the run's crop_size, or its "
        'load_size, but images of --input keep their size',
        group='data',
        minimum=8,
    )
    num_threads: int = setting(
        2, 'number of threads that read images, and of threads that write them', group='data', minimum=1
    )
    # ----------------------------------------------------------------------------------------------------- evaluation
    batch_statistics: Optional[bool] = setting(
        None,
        "let batch norm use each image's own statistics, over its own pixels, instead of the running ones; unset: as "
        'the run does, which of the models is pix2pix',
        group='evaluation',
    )
    test_dropout: Optional[bool] = setting(
        None,
        'keep dropout on, drawn from a seed and the name of each image; unset: as set for the run, by default on '
        'for pix2pix and off for the others',
        group='evaluation',
    )
    eval: bool = setting(
        False,
        "the PyTorch program's way of turning both off: running statistics, and no dropout",
        group='evaluation',
    )
    smooth_statistics: bool = setting(
        True,
        'in a video, let norms that use the statistics of each image (instance norm) change them slowly from frame to '
        'frame, so that brightness does not flicker; they begin anew at a cut',
        group='evaluation',
    )
    seed: Optional[int] = setting(
        None, "random seed of the dropout of --test_dropout; unset: the run's", group='evaluation', minimum=0
    )
    # ---------------------------------------------------------------------------------------------------------- files
    output: Optional[str] = setting(
        None,
        'folder for the translated images or videos of --input; for a single video, also a file, such as out.mp4 or '
        'out.gif; unset: RESULTS_DIR/NAME/files_EPOCH',
        group='files',
    )
    results_dir: str = setting(
        './results',
        'folder for the results; translated images and the results page are written to NAME/PHASE_EPOCH in it',
        group='files',
    )
    output_depth: str = setting(
        'auto',
        'bits per channel of the translated images; auto: as many as the image had; float: 32-bit floating-point '
        "numbers from 0 to 1. With the run's value_range, auto, 16 and float give values of that range, auto as "
        'floating-point numbers where integers of the type that the image had do not hold them',
        group='files',
        choices=('auto', '8', '16', 'float'),
    )
    output_format: str = setting(
        'auto',
        'file format of the translated images; auto: PNG, or TIFF for what PNG cannot hold (five channels or more, '
        'bands that are not alpha, floating-point and negative numbers) and for large TIFFs',
        group='files',
        choices=('auto', 'png', 'tiff'),
    )
    crf: int = setting(
        18,
        'quality of videos, the constant rate factor of their encoder: less is better and takes more space; H.264: at '
        'most 51; VP9: 63',
        group='files',
        minimum=0,
    )
    # -------------------------------------------------------------------------------------------------------- devices
    precision: str = setting(
        'float32',
        'number format of the convolutions; bfloat16 and float16 are faster where the processor has instructions for '
        'them',
        group='devices',
        choices=PRECISIONS,
    )
    emulate_precision: bool = setting(
        False,
        'compute in --precision even on CPUs without instructions for it, where otherwise the faster float32 is used',
        group='devices',
    )
    max_pixels: Optional[int] = setting(
        None,
        'maximum number of pixels translated in one piece; larger images are translated in tiles; unset: what fits '
        "into half of the machine's free memory; lower it for a GPU with less memory",
        group='devices',
        minimum=1,
    )
    batch_size: Optional[int] = setting(
        None,
        'maximum number of images of --input that are translated in a batch, if they have the same size and max_pixels '
        'allows it; unset: 8, on CPUs as many as have 65,536 pixels together, but one to 8',
        group='devices',
        minimum=1,
    )

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch)
        validate_eval(self)
        if self.resize and self.load_size:
            raise UserError(
                f'`resize` ({self.resize}) and `load_size` ({self.load_size}) exclude each other; leave one out.'
            )
        _ = self.resized, parse_shard(self.shard)  # both raise UserError if they cannot be read
        if self.shard and not self.input:
            raise UserError(f'`shard` ({self.shard}) divides the images of `input`, which is not set; set it.')
        if self.shard and not self.output:
            raise UserError(f'`shard` ({self.shard}) needs a folder of its own as `output`, which is not set; set it.')

    @property
    def resized(self) -> Optional[tuple[int, int]]:
        """Width and height to which the images of --input are resized, or None."""
        return parse_size(self.resize) or ((self.load_size, self.load_size) if self.load_size else None)

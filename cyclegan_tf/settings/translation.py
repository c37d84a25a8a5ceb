"""The settings of translating."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import setting, validate_epoch, validate_fields


@dataclasses.dataclass(frozen=True)
class TranslateConfig:
    """What translating is made from: the files of --input, or a run's test images."""

    name: str = setting('experiment_name', 'of the run: its directory is CHECKPOINTS_DIR/NAME')
    checkpoints_dir: str = setting('./checkpoints', 'where the directories of runs are')
    input: Optional[str] = setting(
        None, "an image, a folder or a quoted pattern as 'in/*.jpg'; unset: the run's test images, with a results page"
    )
    output: Optional[str] = setting(None, 'folder for the pictures of --input; unset: RESULTS_DIR/NAME/files_EPOCH')
    direction: Optional[str] = setting(
        None,
        "names the data set's folders, whatever the run's own was; unset: all that the run has, but with --input the "
        'first of them',
        choices=('AtoB', 'BtoA', 'both'),
    )
    resize: Optional[str] = setting(None, "'WIDTHxHEIGHT': resize the images of --input first; unset: they keep theirs")
    output_depth: str = setting(
        'auto', 'bits of the pictures; auto: as many as the image had', choices=('auto', '8', '16')
    )
    precision: str = setting(
        'float32',
        'what convolutions are computed in; bfloat16, float16: faster, where the processor has instructions for it',
        choices=('float32', 'bfloat16', 'float16'),
    )
    max_pixels: Optional[int] = setting(
        None,
        'pixels that are translated at once; images with more are translated in tiles; unset: what fits into half of '
        "the machine's free memory; set it where a GPU has less",
        minimum=1,
    )
    batch_size: int = setting(
        8, 'images of --input of one size that are translated at once, as far as max_pixels goes', minimum=1
    )
    num_threads: int = setting(2, 'threads that read, and that write', minimum=1)
    results_dir: str = setting('./results', 'where the pictures and the page are put, in NAME/PHASE_EPOCH')
    phase: str = setting('test', 'which images of the data set', choices=('train', 'test'))
    epoch: str = setting(
        'latest', "'latest', 'best' (see keep_best of training), or translate with the weights at the end of this epoch"
    )
    # Departs from the reference: it stops after 50 unless told otherwise, which surprises those who have more.
    num_test: Optional[int] = setting(None, 'images per domain; unset: all (the reference: 50)', minimum=1)
    dataroot: Optional[str] = setting(None, "where the images are; unset: where the run's were")
    dataset_mode: Optional[str] = setting(
        None,
        "unset: the run's; single: the folder dataroot itself, all of it one domain, translated in one direction",
        choices=('unaligned', 'aligned', 'single'),
    )
    data_dir: Optional[str] = setting(None, "where TensorFlow Datasets keeps data sets; unset: where the run's was")
    load_size: Optional[int] = setting(
        None,
        "images are resized to this square, or width; unset: the run's crop_size, or its load_size; with --input: they "
        'keep their size',
        minimum=8,
    )
    verbose: bool = setting(False, 'show tracebacks of errors')

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch)
        if self.resize and self.load_size:
            raise UserError(f'`resize` ({self.resize}) and `load_size` ({self.load_size}) exclude each other.')
        _ = self.resized  # raises for a value that cannot be read

    @property
    def resized(self) -> Optional[tuple[int, int]]:
        """Width and height to which the images of --input are resized, or None."""
        if self.resize is None:
            return (self.load_size, self.load_size) if self.load_size else None
        parts = self.resize.lower().split('x')
        if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
            raise UserError(f"`resize` ('{self.resize}') is not 'WIDTHxHEIGHT' in pixels, as in 640x480; mend it.")
        return int(parts[0]), int(parts[1])

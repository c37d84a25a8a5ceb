"""What TensorBoard shows of a run: scalars, rows of pictures, the configuration, profiles."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw
from tensorboard.plugins.hparams import api as hparams

from cyclegan_tf.data.preprocess import to_uint8

_GAP = 4  # pixels between pictures
_LABEL_HEIGHT = 16  # pixels for the names above the pictures
_LEAST_SIDE = 128  # smaller pictures are enlarged to about this, so that their names fit and the eye sees something


class Summaries:
    """Writes the event file in a run's directory.

    Args:
        run_directory: where; TensorBoard names the run after it.
    """

    def __init__(self, run_directory: pathlib.Path):
        self._run_directory = run_directory
        self._writer = tf.summary.create_file_writer(str(run_directory))

    def configuration(self, settings: Mapping[str, Any], step: int) -> None:
        """The settings as a table under Text and as hyperparameters."""
        table = '\n'.join(['| setting | value |', '|---|---|', *(f'| {k} | {v} |' for k, v in settings.items())])
        with self._writer.as_default(step):
            tf.summary.text('configuration', table)
            hparams.hparams(
                {name: value for name, value in settings.items() if value is not None}, trial_id=settings['name']
            )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point on each curve, by tag."""
        with self._writer.as_default(step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)

    def pictures(self, group: str, rows: Mapping[str, Mapping[str, Sequence[np.ndarray]]], step: int) -> None:
        """One sheet for each direction, tagged GROUP/A_to_B and so on.

        Args:
            group: the first part of the tags.
            rows: direction -> name of the column -> pictures, float [h, w, c] in [-1, 1]; each is a row of the sheet.
            step: of the run.
        """
        with self._writer.as_default(step):
            for direction, columns in rows.items():
                tf.summary.image(f'{group}/{direction}', sheet(columns)[None], description=', '.join(columns))

    def flush(self) -> None:
        """Puts everything so far into the file."""
        self._writer.flush()

    def start_profile(self) -> None:
        """From here on, what the devices do is recorded."""
        tf.profiler.experimental.start(str(self._run_directory))

    def stop_profile(self) -> None:
        """Writes the record for TensorBoard's profile tab."""
        tf.profiler.experimental.stop()


def sheet(columns: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures side by side with their names above.

    Args:
        columns: name -> pictures, float [h, w, c] in [-1, 1]; the first of each name make the first row, and so on.
            Rows may differ in size.

    Returns:
        uint8 [H, W, 3].
    """
    pictures = {name: [_rgb(to_uint8(picture)) for picture in batch] for name, batch in columns.items()}
    rows = list(zip(*pictures.values()))
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    width = max(picture.shape[1] for row in rows for picture in row)
    scale = max(1, _LEAST_SIDE // min(*heights, width))
    width, heights = width * scale, [height * scale for height in heights]
    size = (len(pictures) * (width + _GAP) - _GAP, _LABEL_HEIGHT + sum(heights) + _GAP * (len(rows) - 1))
    canvas = Image.new('RGB', size, 'white')
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(pictures):
        draw.text((i * (width + _GAP) + width / 2, _LABEL_HEIGHT / 2), name, fill='black', anchor='mm')
    top = _LABEL_HEIGHT
    for row, height in zip(rows, heights):
        for i, picture in enumerate(row):
            enlarged = Image.fromarray(picture)
            enlarged = enlarged.resize((picture.shape[1] * scale, picture.shape[0] * scale), Image.NEAREST)
            canvas.paste(enlarged, (i * (width + _GAP), top))
        top += height + _GAP
    return np.asarray(canvas)


def _rgb(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, c] -> [h, w, 3]: gray is repeated, more channels are cut."""
    return np.repeat(picture, 3, axis=-1) if picture.shape[-1] < 3 else picture[..., :3]

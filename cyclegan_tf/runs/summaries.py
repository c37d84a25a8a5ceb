"""What TensorBoard shows of a run: scalars, rows of pictures, the configuration, profiles; and where else they go."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from cyclegan_tf.data.levels import to_uint8
from cyclegan_tf.runs import event_files
from cyclegan_tf.runs.curves import Curves
from cyclegan_tf.runs.scalar_log import ScalarLog
from cyclegan_tf.runs.wandb_log import WandbLog
from cyclegan_tf.runtime.files import sync

if TYPE_CHECKING:
    from tensorboard.compat.proto import event_pb2

_CONFIGURATION = 'configuration'
_GAP = 4  # pixels between pictures
_LABEL_HEIGHT = 16  # pixels for the names above the pictures
_LEAST_SIDE = 128  # smaller pictures are enlarged to about this, so that their names fit and details are visible


class Summaries:
    """Writes the event file in a run's directory.

    Args:
        run_directory: directory of the file; TensorBoard names the run after it.
        writes: False writes nothing, for all workers but one.
        step: current step of the run, if it may have been further before: see go_back.
        again: prefixes of tags that will be written again at this step, besides the configuration's.
        as_text: whether scalars are also written as text, see scalar_log.
        wandb_log: gets scalars and pictures, too; or None.

    Attributes:
        curves: the points of some of the scalars, thinned, of the run from its beginning.
    """

    def __init__(
        self,
        run_directory: pathlib.Path,
        writes: bool = True,
        step: Optional[int] = None,
        again: tuple[str, ...] = (),
        as_text: bool = False,
        wandb_log: Optional[WandbLog] = None,
    ):
        self._run_directory, self._writes = run_directory, writes
        self._log, self._wandb_log = ScalarLog(run_directory, writes and as_text), wandb_log
        self.curves = Curves()
        if writes and step is not None:
            self._cut(step, again)
        self._open()

    def _open(self) -> None:
        place, older = self._run_directory, set(event_files.find(self._run_directory))
        # TensorBoard reads files in the order of their names, which begin with the time in seconds.
        while self._writes and any(path.name.split('.')[3] == str(int(time.time())) for path in older):
            time.sleep(0.05)
        self._writer = tf.summary.create_file_writer(str(place)) if self._writes else tf.summary.create_noop_writer()
        self._writer.flush()  # creates the file
        self._files = [path for path in event_files.find(place) if path not in older]
        assert len(self._files) == self._writes, self._files
        # Numbers of events, with the file's header: passed to the writer, and on disk; and the position after these.
        self._written, self._on_disk, self._end = 1, 0, 0

    def go_back(self, step: int) -> None:
        """Removes what was written after a step from the event files, as if the run had never been further.

        Otherwise the curves of a run that was stopped after its last checkpoint would have a section twice. A
        configuration of this step is removed too, since it will be written again.
        """
        if not self._writes:
            return
        self._writer.close()
        self._cut(step)
        if self._wandb_log is not None:
            self._wandb_log.go_back()
        self._open()

    def _cut(self, step: int, again: tuple[str, ...] = ()) -> None:
        tags = (_CONFIGURATION, '_hparams_/', *again)
        self.curves.clear()

        def stays(one: event_pb2.Event) -> bool:
            if one.step > step or (one.step == step and _is_of(one, tags)):
                return False
            self.curves.add(event_files.scalars(one), one.step)
            return True

        event_files.rewrite(self._run_directory, stays)
        event_files.rewrite(self._run_directory / 'eval', lambda one: one.step <= step)
        self._log.cut(step, again)

    def configuration(self, settings: Mapping[str, Any], step: int) -> None:
        """Writes the settings as a table under Text and as hyperparameters."""
        from tensorboard.plugins.hparams import api as hparams

        table = '\n'.join(['| setting | value |', '|---|---|', *(f'| {k} | {v} |' for k, v in settings.items())])
        with self._writer.as_default(step):
            self._write(tf.summary.text, _CONFIGURATION, table)
            self._write(
                hparams.hparams,
                {name: value for name, value in settings.items() if value is not None},
                trial_id=settings['name'],
            )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Writes one point of each curve, by tag."""
        with self._writer.as_default(step):
            for tag, value in values.items():
                self._write(tf.summary.scalar, tag, value)
        plain = {tag: float(value) for tag, value in values.items()}
        self.curves.add(plain, step)
        self._log.add(plain, step)
        if self._wandb_log is not None:
            self._wandb_log.add(plain, step)

    def pictures(self, group: str, rows: Mapping[str, Mapping[str, Sequence[np.ndarray]]], step: int) -> None:
        """Writes one sheet for each direction, tagged GROUP/A_to_B and so on, with the model's domains.

        Args:
            group: the first part of the tags.
            rows: direction -> name of the column -> pictures, float [h, w, c] in [-1, 1], one for each row of the
                sheet.
            step: step of the run.
        """
        sheets = {f'{group}/{direction}': (sheet(columns), ', '.join(columns)) for direction, columns in rows.items()}
        with self._writer.as_default(step):
            for tag, (pictures, names) in sheets.items():
                about = f'{names}. A is the domain that the run starts from: trainB under --direction=BtoA.'
                self._write(tf.summary.image, tag, pictures[None], description=about)
        if self._wandb_log is not None:
            self._wandb_log.pictures(sheets, step)

    def _write(self, kind: Callable, *arguments, **settings) -> None:
        try:
            kind(*arguments, **settings)
        except tf.errors.OpError as error:
            raise OSError(f"'{self._run_directory}': {error.message.splitlines()[0]}") from error
        self._written += 1

    def flush(self) -> None:
        """Writes everything so far to disk, where it survives a power cut.

        Raises:
            OSError: not everything has been written. TensorFlow itself silently drops what does not fit on a full disk.
        """
        if not self._writes:
            return
        self._writer.flush()
        for path in self._files:
            records, self._end = event_files.count(path, self._end)
            self._on_disk += records
        if self._on_disk != self._written:
            raise OSError(f"'{self._run_directory}': TensorBoard's curves could not be written; is the disk full?")
        sync(self._files)
        self._log.flush()

    def start_profile(self) -> None:
        """Begins to record what the devices do."""
        if self._writes:
            tf.profiler.experimental.start(str(self._run_directory))

    def stop_profile(self) -> None:
        """Writes the recording, for TensorBoard's profile tab."""
        if self._writes:
            tf.profiler.experimental.stop()


def _is_of(event: event_pb2.Event, tags: tuple[str, ...]) -> bool:
    return any(value.tag.startswith(tags) for value in event.summary.value)


def sheet(columns: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures side by side with their names above.

    Args:
        columns: name -> pictures, float [h, w, c] in [-1, 1]; the first of each name make the first row, and so on.
            Rows may differ in size.

    Returns:
        uint8 [H, W, 3].
    """
    pictures = {name: [as_rgb(to_uint8(picture)) for picture in batch] for name, batch in columns.items()}
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


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, c] -> [h, w, 3]: of one or two channels the first is repeated, of more the first three are used."""
    return np.repeat(picture[..., :1], 3, axis=-1) if picture.shape[-1] < 3 else picture[..., :3]

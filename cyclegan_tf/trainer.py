"""The loop around the step: compiled inside, reports and checkpoints outside."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.checkpoints import Checkpoints
from cyclegan_tf.config import Config
from cyclegan_tf.console import Console
from cyclegan_tf.errors import UserError
from cyclegan_tf.models.interface import Model
from cyclegan_tf.summaries import Summaries
from cyclegan_tf.training_data import TrainingData

_LONGEST_CALL = 0.5  # seconds of compiled steps between looks at signals and the clock


class Interrupted(Exception):
    """Training was asked to stop by a signal; the state is saved."""

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class Progress(tf.Module):
    """Sums of the metrics since the last report and since the epoch began; a part of the state."""

    def __init__(self, metrics: int):
        super().__init__()
        self.since_report = tf.Variable(tf.zeros([metrics], tf.float64), trainable=False)
        self.steps_since_report = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.since_epoch = tf.Variable(tf.zeros([metrics], tf.float64), trainable=False)
        self.steps_since_epoch = tf.Variable(0, dtype=tf.int64, trainable=False)

    def add(self, rows: np.ndarray) -> None:
        """Adds the metrics of some steps, float [steps, metrics], one step after the other."""
        for total, count in ((self.since_report, self.steps_since_report), (self.since_epoch, self.steps_since_epoch)):
            values = total.numpy()
            # Not one sum: its order, and so its rounding, would depend on how the steps were grouped into calls.
            for row in rows:
                values = values + row
            total.assign(values)
            count.assign_add(len(rows))

    def take_report(self) -> np.ndarray:
        """The means since the last report, which begins anew."""
        return _take(self.since_report, self.steps_since_report)

    def take_epoch(self) -> np.ndarray:
        """The means since the epoch began, which begins anew."""
        return _take(self.since_epoch, self.steps_since_epoch)


def _take(total: tf.Variable, count: tf.Variable) -> np.ndarray:
    means = total.numpy() / max(1, int(count.numpy()))
    total.assign(tf.zeros_like(total))
    count.assign(0)
    return means


class Trainer:
    """Trains a model from the step it is at to the end of its last epoch.

    Args:
        model: built under the strategy's scope, restored if the run is continued.
        progress: its running means, restored likewise.
        strategy: the devices.
        config: the run's settings.
        data: the images to learn from.
        test_images: pairs of pictures of both domains, float [1, h, w, c] in [-1, 1], translated at the end of every
            epoch; or None.
        checkpoints, summaries, console: where results go.
    """

    def __init__(
        self,
        model: Model,
        progress: Progress,
        strategy: tf.distribute.Strategy,
        config: Config,
        data: TrainingData,
        test_images: Optional[Sequence[tuple[np.ndarray, np.ndarray]]],
        checkpoints: Checkpoints,
        summaries: Summaries,
        console: Console,
    ):
        self._model, self._progress, self._strategy, self._config = model, progress, strategy, config
        self._data, self._steps_per_epoch, self._test_images = data, data.steps_per_epoch, test_images
        self._checkpoints, self._summaries, self._console = checkpoints, summaries, console
        self._visuals = tf.function(model.visuals, reduce_retracing=True)  # pictures may differ in size
        self._run_steps = self._compile_inner_loop()
        self._signal: Optional[int] = None
        self._profiling = False
        self._last_report = (time.monotonic(), self.step)
        self._longest_call = 1
        self._waited = np.zeros(2)  # seconds spent waiting for images, and in all, since the last report
        # One of TensorFlow's graph optimizers fails on this step's gradients and says so; it changes nothing here.
        tf.config.optimizer.set_experimental_options({'remapping': False})

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._model.step.numpy())

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return max(0, self._config.total_epochs - self._config.epoch_count + 1) * self._steps_per_epoch

    def epoch_of(self, step: int) -> int:
        """The number of the epoch that the step after `step` steps belongs to."""
        return self._config.epoch_count + step // self._steps_per_epoch

    def _compile_inner_loop(self):
        model, strategy = self._model, self._strategy

        @tf.function
        def run_steps(iterator, count):
            results = tf.TensorArray(tf.keras.backend.floatx(), size=count, element_shape=[len(model.metric_names)])
            waited = tf.constant(0.0, tf.float64)
            for i in tf.range(count):
                # The clock starts when the step before is done, and stops when its images are there.
                with tf.control_dependencies([results.flow]):
                    start = tf.timestamp()
                with tf.control_dependencies([start]):
                    images = next(iterator)
                with tf.control_dependencies(tf.nest.flatten(images, expand_composites=True)):
                    waited += tf.timestamp() - start
                metrics = strategy.run(model.train_step, args=images)
                results = results.write(i, strategy.experimental_local_results(metrics)[0])
            return results.stack(), waited  # [count, metrics]; seconds

        return run_steps

    def train(self) -> None:
        """Trains to the end.

        Raises:
            Interrupted: SIGTERM or SIGINT came; the state is saved.
            UserError: a loss is not finite; the last checkpoint stays.
        """
        if self.step >= self.total_steps:
            return
        stream = self._data.stream.from_step(self.step)
        # The stream holds global batches; this splits each over the replicas and does not shard the stream itself.
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        iterator = iter(self._strategy.experimental_distribute_dataset(stream.with_options(options)))
        self._model.start_epoch(self.epoch_of(self.step))
        self._last_report = (time.monotonic(), self.step)
        handlers = self._catch_signals()
        try:
            self._console.start(self.step, self.total_steps)
            while self.step < self.total_steps:
                self._advance(iterator)
                if self._signal is not None:
                    self._save(lambda: self._checkpoints.save_latest(self.step))
                    raise Interrupted(self._signal)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if self._profiling:
                self._summaries.stop_profile()
            self._summaries.flush()
            self._console.stop()

    def _catch_signals(self) -> dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}  # only the main thread may set handlers
        return {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}

    def _on_signal(self, number, frame):
        self._signal = number

    # ---------------------------------------------------------------------------------------------------- the events
    def _advance(self, iterator: Iterator) -> None:
        """Runs steps up to the next event, or as many as fit into one call, and does what is due."""
        before = self.step
        count = min(self._next_event(before) - before, self._longest_call)
        self._profile(before)
        start = time.monotonic()
        rows, waited = (result.numpy() for result in self._run_steps(iterator, tf.constant(count)))
        seconds = time.monotonic() - start
        self._waited += np.array([waited, seconds])
        seconds_per_step = seconds / count
        # The first call compiles, so its time only errs on the side of short calls.
        self._longest_call = max(1, int(_LONGEST_CALL / seconds_per_step))
        step = before + count
        self._check_finite(rows, before)
        self._progress.add(rows.astype(np.float64))
        self._console.advance(step, self.epoch_of(before), self._losses(rows[-1]))
        config = self._config
        if self._due(step, config.print_freq) or step == self.total_steps:
            self._report(step, self.epoch_of(before))
        if self._due(step, config.display_freq) or step == 1:
            self._display(step)
        if step % self._steps_per_epoch == 0:
            self._end_epoch(step, self.epoch_of(before))
        elif self._due(step, config.save_latest_freq):
            self._save(lambda: self._checkpoints.save_latest(step))

    def _due(self, step: int, frequency: int) -> bool:
        """Whether this step brings the number of images to or past a multiple of the frequency."""
        batch = self._config.batch_size
        return step * batch // frequency > (step - 1) * batch // frequency

    def _next_event(self, step: int) -> int:
        """The next step after which something is due."""
        config, batch = self._config, self._config.batch_size
        nexts = [self.total_steps, (step // self._steps_per_epoch + 1) * self._steps_per_epoch]
        for frequency in (config.print_freq, config.display_freq, config.save_latest_freq):
            nexts.append(math.ceil((step * batch // frequency + 1) * frequency / batch))
        if step == 0:
            nexts.append(1)
        if config.profiled_steps:
            nexts += [bound for bound in (config.profiled_steps[0] - 1, config.profiled_steps[1]) if bound > step]
        return min(nexts)

    def _losses(self, values: np.ndarray) -> dict[str, float]:
        named = dict(zip(self._model.metric_names, values))
        return {name: float(named[f'loss/{name}']) for name in self._model.loss_names}

    def _check_finite(self, rows: np.ndarray, before: int) -> None:
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            row, column = bad[0]
            raise UserError(
                f'{self._model.metric_names[column]} is {rows[row, column]} at step {before + row + 1}: training stops '
                f'and the last checkpoint stays; lower --lr, or look for broken images, and go on with '
                f'--continue_train.'
            )

    def _report(self, step: int, epoch: int) -> None:
        now = time.monotonic()
        seconds, steps = now - self._last_report[0], step - self._last_report[1]
        self._last_report = (now, step)
        means = self._progress.take_report()
        speed = steps * self._config.batch_size / seconds
        (waited, working), self._waited = self._waited, np.zeros(2)
        self._summaries.scalars(
            {
                **dict(zip(self._model.metric_names, means)),
                **self._model.learning_rates(),
                'speed/images_per_second': speed,
                'speed/step_seconds': seconds / steps,
                'speed/input_wait': waited / working,
                **self._data.scalars(),
                'epoch': epoch,
            },
            step,
        )
        self._console.report(step, epoch, self._losses(means), speed)

    def _display(self, step: int) -> None:
        real_a, real_b = self._data.stream.batch(step)  # the next step's
        self._summaries.pictures('images', self._translate([(real_a[:1], real_b[:1])]), step)

    def _translate(self, pairs):
        """direction -> name of the column -> pictures [h, w, c], one for each pair."""
        dtype = tf.keras.backend.floatx()
        sheets = {}
        for real_a, real_b in pairs:
            for direction, row in self._visuals(tf.cast(real_a, dtype), tf.cast(real_b, dtype)).items():
                for name, picture in row.items():
                    sheets.setdefault(direction, {}).setdefault(name, []).append(picture.numpy()[0])
        return sheets

    def _end_epoch(self, step: int, epoch: int) -> None:
        self._model.end_epoch(dict(zip(self._model.metric_names, self._progress.take_epoch())))
        if self._test_images is not None:
            self._summaries.pictures('test', self._translate(self._test_images), step)
        last = step == self.total_steps
        if not last:
            self._model.start_epoch(epoch + 1)
        if epoch % self._config.save_epoch_freq == 0 or last:
            self._save(lambda: self._checkpoints.save_epoch(epoch))
        elif self._due(step, self._config.save_latest_freq):
            self._save(lambda: self._checkpoints.save_latest(step))

    def _save(self, save: Callable[[], None]) -> None:
        # What TensorBoard shows is never behind the checkpoint that a restart goes on from.
        self._summaries.flush()
        save()

    def _profile(self, step: int) -> None:
        if self._config.profiled_steps is None:
            return
        first, last = self._config.profiled_steps
        if step == first - 1:
            self._summaries.start_profile()
            self._profiling = True
        elif step == last and self._profiling:
            self._summaries.stop_profile()
            self._profiling = False

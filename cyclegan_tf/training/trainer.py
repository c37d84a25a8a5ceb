"""The training loop: compiled steps inside, reports and checkpoints outside."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.data.training_data import TrainingData
from cyclegan_tf.distribution.devices import Devices, set_graph_optimizer
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation.results import Results, find_overall, is_better, overall, scalars
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.networks import choices
from cyclegan_tf.runs.checkpoint_store import Checkpoints
from cyclegan_tf.runs.summaries import Summaries
from cyclegan_tf.runtime import garbage
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.runtime.signals import StopSignals
from cyclegan_tf.runtime.start_times import StartTimes
from cyclegan_tf.settings.training import Config
from cyclegan_tf.training.inner_loop import compile_steps
from cyclegan_tf.training.page import RunPage
from cyclegan_tf.training.progress import Progress
from cyclegan_tf.training.timetable import Timetable

# Settings on which the measures of the test images depend.
_HOW_MEASURED = (
    'dataroot', 'eval_images', 'eval_load_size', 'feature_extractor', 'feature_weights', 'feature_resizing',
    'feature_size', 'feature_range', 'feature_output', 'batch_statistics', 'test_dropout',
)  # fmt: skip
# Of runs that were measured before these were there.
_HOW_BEFORE = {
    'batch_statistics': False, 'test_dropout': False, 'feature_weights': None, 'feature_resizing': 'clean',
}  # fmt: skip
_ROLLBACKS = 3  # maximum number, with on_nan=rollback
_LONGEST_CALL = 0.5  # seconds of compiled steps between checks of signals and the clock


class Interrupted(Exception):
    """Training was asked to stop by a signal; the state is saved."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class NotFinite(Exception):
    """A metric became infinite or not a number; the weights may be corrupted."""


class Trainer:
    """Trains a model from the step it is at to the end of its last epoch.

    Args:
        model: built under the strategy's scope, restored if the run is continued.
        progress: its running means, restored likewise.
        devices: the devices that train; only their chief writes and evaluates.
        config: the run's settings.
        data: the training images.
        test_images: pairs of pictures of both domains, float [1, h, w, c] in [-1, 1], translated at the end of every
            epoch; or None.
        evaluate: function that evaluates the current model, for eval_freq, and calls its argument between batches; or
            None.
        checkpoints, summaries, page, console: where results go.
        stop_signals: already entered as a context.
        times: durations of the start-up so far; with verbose, they are printed after the first step.
    """

    def __init__(
        self,
        model: BaseModel,
        progress: Progress,
        devices: Devices,
        config: Config,
        data: TrainingData,
        test_images: Optional[Sequence[tuple[np.ndarray, np.ndarray]]],
        evaluate: Optional[Callable[[Callable[[], None]], Results]],
        checkpoints: Checkpoints,
        summaries: Summaries,
        page: RunPage,
        console: Console,
        stop_signals: StopSignals,
        times: StartTimes,
    ):
        self._model, self._progress, self._devices, self._config = model, progress, devices, config
        self._data, self._test_images = data, test_images
        self._timetable = Timetable(config, data.steps_per_epoch)
        self._evaluate = evaluate
        self._checkpoints, self._summaries, self._page, self._console = checkpoints, summaries, page, console
        self._stop_signals = stop_signals
        self._times: Optional[StartTimes] = times  # until the first step is done
        self._run_steps = compile_steps(model, devices.strategy)
        self._signal: Optional[int] = None  # on which all workers act
        self._profiling = False
        self._last_report = (time.monotonic(), self.step)
        self._longest_call = 1
        self._waited = np.zeros(2)  # seconds spent waiting for images, and in total, since the last report
        set_graph_optimizer(devices.kind)

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self._model.step.numpy())

    @property
    def total_steps(self) -> int:
        """Number of steps of the complete run."""
        return self._timetable.total_steps

    @property
    def last_step(self) -> int:
        """The step after which training ends."""
        return self._timetable.last_step

    def train(self) -> None:
        """Trains to the last step.

        Raises:
            Interrupted: SIGTERM or SIGINT was received; the state is saved.
            UserError: a loss is not finite, and training does not roll back or has done so without success; or a
                checkpoint could not be saved. The last checkpoint is kept.
        """
        try:
            self._page.cut(self.step)
            self._finish_current_step()
            self._times.mark('finishing the previous step')
            if self.step >= self.last_step:
                return
            self._console.start(self.step, self.last_step)
            while True:
                try:
                    return self._train_from_here()
                except NotFinite as error:
                    self._roll_back(error)
        except OSError as error:
            raise self._not_saved(error) from error
        finally:
            if self._profiling:
                self._summaries.stop_profile()
            with contextlib.suppress(OSError):  # if this fails, saving has failed before, which is reported
                self._summaries.flush()
                self._page.write(self.step)
            self._console.stop()

    def _train_from_here(self) -> None:
        self._stream = self._data.stream(self._order)
        iterator = iter(self._devices.distribute(self._stream.from_step(self.step)))
        self._model.start_epoch(self._timetable.epoch_of(self.step))
        self._last_report, self._waited = (time.monotonic(), self.step), np.zeros(2)
        try:
            while self.step < self.last_step:
                self._advance(iterator)
                self._agree()
                if self._signal is not None:
                    self._save_latest(self.step)
                    raise Interrupted(self._signal)
        finally:
            self._stop_signals.end_deferral()

    @property
    def _order(self) -> int:
        """Number of the order of images: 0 is the first one of the seed, and each rollback uses the next."""
        return int(self._progress.rollbacks.numpy())

    def _finish_current_step(self) -> None:
        """Does what is still due at the current step, as after a kill."""
        if self._timetable.ends_epoch(self.step):
            self._finish_epoch(self.step)
        elif self._config.on_nan == 'rollback' and self.step == 0:
            self._save_latest(0)  # to roll back to

    def _roll_back(self, error: NotFinite) -> None:
        """Returns to the last good checkpoint, and continues from there with the images in another order."""
        rollbacks = self._order
        if self._config.on_nan != 'rollback' or rollbacks >= _ROLLBACKS:
            tried = f' Training has been rolled back {rollbacks} times without success.' if rollbacks else ''
            last = self._checkpoints.newest()
            kept = f'the checkpoint of step {last.step} is kept' if last else 'there is no checkpoint yet'
            then = 'continue with --continue_train' if last else 'start again'
            raise UserError(
                f'{error}: training stops, and {kept}.{tried} Lower --lr, or look for broken images, and {then}.'
            ) from error
        restored = self._checkpoints.restore('latest', when_read=lambda: self._devices.exchange([0]), finite=True)
        self._summaries.go_back(self.step)
        self._page.cut(self.step)
        self._console.stop()
        self._progress.rollbacks.assign(rollbacks + 1)
        self._console.line(
            f'{error}: training returns to step {restored.found.step} and continues with the images in another order '
            f'(rollback {rollbacks + 1} of {_ROLLBACKS}).'
        )
        self._console.start(self.step, self.last_step)

    def _agree(self) -> None:
        """Makes all workers stop at the same step, whichever got a signal, and do equally many steps per call."""
        self._signal = self._stop_signals.number  # a signal during the exchange is shared at the next one
        if self._devices.workers == 1:
            return
        answers = self._devices.exchange([self._signal or 0, self._longest_call])
        self._signal = int(answers[:, 0].max()) or None
        self._longest_call = int(answers[:, 1].min())

    # ---------------------------------------------------------------------------------------------------- the events
    def _advance(self, iterator: Iterator) -> None:
        """Runs steps up to the next event, or as many as fit into one call, and does what is due."""
        before = self.step
        count = min(self._timetable.next_event(before) - before, self._longest_call)
        self._profile(before)
        start = time.monotonic()
        if self._times is not None:
            self._times.mark('opening the stream of images')
            with garbage.paused():
                self._run_steps.get_concrete_function(iterator, tf.constant(count))  # which the call below reuses
            self._times.mark('tracing the step')
        rows, waited = (result.numpy() for result in self._run_steps(iterator, tf.constant(count)))
        # From now on there is work to save. Before, the first call compiles, which may take long; a signal during that
        # stops the program immediately.
        self._stop_signals.defer()
        seconds = time.monotonic() - start
        if self._times is not None:
            self._times.mark('compiling the step and running it once')
            if self._config.verbose:
                self._console.line(self._times.describe('the first step'))
                self._console.line(choices.describe(self._model.networks().values(), self._model.kinds_in_one_batch))
            self._times = None
        self._waited += np.array([waited, seconds])
        seconds_per_step = seconds / count
        # The first call also compiles; its time can only make the next call shorter than necessary.
        self._longest_call = max(1, int(_LONGEST_CALL / seconds_per_step))
        step = before + count
        self._check_finite(rows, before)
        self._progress.add(rows.astype(np.float64))
        self._console.advance(step, self._timetable.epoch_of(before), self._losses(rows[-1]))
        config = self._config
        if self._timetable.is_due(step, config.print_freq) or step == self.last_step:
            self._report(step, self._timetable.epoch_of(before))
        if self._timetable.is_due(step, config.display_freq) or step == 1:
            self._display(step)
        if self._timetable.ends_epoch(step):
            self._end_epoch(step, self._timetable.epoch_of(before))
        elif self._timetable.is_due(step, config.save_latest_freq):
            self._save_latest(step)
        if step == self.last_step and not (
            self._timetable.ends_epoch(step) and self._checkpoints.has_epoch(self._timetable.epoch_of(step) - 1)
        ):
            self._save_latest(step)  # as with max_steps; otherwise the end of the last epoch is saved

    def _losses(self, values: np.ndarray) -> dict[str, float]:
        named = dict(zip(self._model.metric_names, values))
        return {name: float(named[f'loss/{name}']) for name in self._model.loss_names}

    def _check_finite(self, rows: np.ndarray, before: int) -> None:
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            row, column = bad[0]
            raise NotFinite(f'{self._model.metric_names[column]} is {rows[row, column]} at step {before + row + 1}')

    def _report(self, step: int, epoch: int) -> None:
        now = time.monotonic()
        seconds, steps = now - self._last_report[0], step - self._last_report[1]
        self._last_report = (now, step)
        means = self._progress.take_report()
        speed = steps * self._config.images_per_step / seconds
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
        if not self._devices.is_chief:
            return
        self._summaries.pictures('images', self._translate(self._training_images(step)), step)

    def _training_images(self, step: int):
        """A pair of the next step's images, in a list."""
        real_a, real_b = self._stream.batch(step)
        return [(real_a[:1], real_b[:1])]

    def _translate(self, pairs):
        """direction -> name of the column -> pictures [h, w, c], one for each pair."""
        dtype = tf.keras.backend.floatx()
        sheets = {}
        for real_a, real_b in pairs:
            for direction, row in self._model.visuals(tf.cast(real_a, dtype), tf.cast(real_b, dtype)).items():
                for name, picture in row.items():
                    sheets.setdefault(direction, {}).setdefault(name, []).append(picture.numpy()[0])
        return sheets

    def _end_epoch(self, step: int, epoch: int) -> None:
        self._model.end_epoch(dict(zip(self._model.metric_names, self._progress.take_epoch())))
        if self._devices.is_chief:
            self._picture(step, epoch)
        if step != self.total_steps:
            self._model.start_epoch(epoch + 1)
        self._finish_epoch(step)

    def _picture(self, step: int, epoch: int) -> None:
        """Translates test images, or training images for the page where there are none."""
        if self._test_images is not None:
            pictures = self._translate(self._test_images)
            self._summaries.pictures('test', pictures, step)
        elif self._page.grows:
            pictures = self._translate(self._training_images(step))
        else:
            return
        self._page.add_epoch(epoch, step, pictures, self._test_images is not None)

    def _finish_epoch(self, step: int) -> None:
        """Evaluates and saves what is due at this end of an epoch, and not done yet."""
        epoch, measured = self._timetable.epoch_of(step) - 1, int(self._progress.measured.numpy())
        if self._evaluate is not None and self._timetable.measures(step) and measured < step:
            self._save_latest(step)  # evaluating may take longer than a machine that is about to stop has left
            self._measure(step, epoch)
        if self._timetable.keeps(step):
            if not self._checkpoints.has_epoch(epoch):
                self._save(lambda: self._checkpoints.save_epoch(epoch))
        elif self._timetable.is_due(step, self._config.save_latest_freq):
            self._save_latest(step)

    def _measure(self, step: int, epoch: int) -> None:
        """Evaluates on the test images, and keeps the checkpoint if it is the best."""
        results, keep_best = self._evaluate(self._stop_if_asked), self._config.keep_best
        self._progress.measured.assign(step)
        values = scalars(results)
        self._summaries.scalars({f'eval/{name}': value for name, value in values.items()}, step)
        self._page.write_if_due(step)
        self._console.line(f'Test images after epoch {epoch}: ' + ', '.join(f'{k} {v:.4g}' for k, v in values.items()))
        if keep_best is None:
            return
        value, best = overall(results, keep_best), self._checkpoints.best()
        how = {name: getattr(self._config, name) for name in _HOW_MEASURED}
        # Results that were measured with other settings, before these were changed, cannot be compared.
        same = best is not None and {**_HOW_BEFORE, **best['how']} == how
        old = find_overall(best['results'], keep_best) if same else None
        if not math.isnan(value) and (old is None or is_better(keep_best, value, old)):
            self._save(lambda: self._checkpoints.save_best(epoch, {'results': results, 'how': how}))
            self._console.line(f'The best {keep_best} so far, {value:.4g}: kept as --epoch=best.')

    def _stop_if_asked(self) -> None:
        """Stops between two batches of an evaluation, before which the state was saved; not with several workers, since
        all of them would have to stop."""
        if self._devices.workers == 1 and (number := self._stop_signals.number) is not None:
            raise Interrupted(number)

    def _save_latest(self, step: int) -> None:
        # If this checkpoint exists already, it can lack at most the latest evaluation, which is then repeated. Writing
        # it again would put it at risk if the program is killed meanwhile.
        if not self._checkpoints.has_latest(step):
            self._save(lambda: self._checkpoints.save_latest(step))

    def _save(self, save: Callable[[], None]) -> None:
        # TensorBoard's files and the page must not be behind the checkpoint that a restart resumes from.
        self._summaries.flush()
        self._page.write(self.step)
        save()

    def _not_saved(self, error: OSError) -> UserError:
        """The error for a checkpoint that cannot be saved, as on a full disk."""
        with contextlib.suppress(OSError):  # it needs permission, but no free space
            self._checkpoints.tidy()
        last = self._checkpoints.newest()
        left = f'the last good checkpoint is of step {last.step}' if last else 'no checkpoint is left'
        reason = f'{error.filename}: {error.strerror}' if error.filename else str(error)
        return UserError(
            f'step {self.step} could not be saved ({reason}); {left}. Free some space, or make the folder writable, '
            f'and continue with --continue_train.'
        )

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

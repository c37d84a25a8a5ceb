"""When events are due in a run: at the ends of epochs, and after every so many images or epochs."""

from __future__ import annotations

import dataclasses
import math

from cyclegan_tf.settings.training import Config


@dataclasses.dataclass(frozen=True)
class Timetable:
    """Which events are due after which step.

    Attributes:
        config: the run's settings.
        steps_per_epoch: number of steps in an epoch.
    """

    config: Config
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Number of steps of the complete run."""
        return max(0, self.config.total_epochs - self.config.epoch_count + 1) * self.steps_per_epoch

    @property
    def last_step(self) -> int:
        """The step after which training ends: that of --max_steps, or the last one of the complete run."""
        return min(self.total_steps, self.config.max_steps or self.total_steps)

    def epoch_of(self, step: int) -> int:
        """The number of the epoch that the step after `step` steps belongs to."""
        return self.config.epoch_count + step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether this step is the last one of an epoch."""
        return step > 0 and step % self.steps_per_epoch == 0

    def keeps(self, step: int) -> bool:
        """Whether the checkpoint at this end of an epoch is kept as an epoch's."""
        return self._every(self.config.save_epoch_freq, step)

    def measures(self, step: int) -> bool:
        """Whether the model is evaluated on the test images at this end of an epoch."""
        return self.config.eval_freq is not None and self._every(self.config.eval_freq, step)

    def _every(self, epochs: int, step: int) -> bool:
        return (self.epoch_of(step) - 1) % epochs == 0 or step == self.total_steps

    def is_due(self, step: int, frequency: int) -> bool:
        """Whether this step brings the number of images to or past a multiple of the frequency."""
        batch = self.config.images_per_step
        return step * batch // frequency > (step - 1) * batch // frequency

    def next_event(self, step: int) -> int:
        """The next step after which something is due."""
        config, batch = self.config, self.config.images_per_step
        nexts = [self.last_step, (step // self.steps_per_epoch + 1) * self.steps_per_epoch]
        for frequency in (config.print_freq, config.display_freq, config.save_latest_freq):
            nexts.append(math.ceil((step * batch // frequency + 1) * frequency / batch))
        if step == 0:
            nexts.append(1)
        if config.profiled_steps:
            nexts += [bound for bound in (config.profiled_steps[0] - 1, config.profiled_steps[1]) if bound > step]
        return min(nexts)

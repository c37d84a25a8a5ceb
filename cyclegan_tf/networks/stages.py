"""A network as a sequence of stages, numbered as the reference numbers them, which hands out what any of them makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.kernels import segments


@dataclasses.dataclass(frozen=True)
class Stage:
    """One module of the reference's nn.Sequential.

    Attributes:
        function: x -> the next x, with `training` or `seed` as well where `takes` names them.
        takes: what it is given beside x.
        in_place: in PyTorch the result takes the place of x in memory, and whoever kept x has the result instead.
    """

    function: Callable[..., tf.Tensor]
    takes: tuple[str, ...] = ()
    in_place: bool = False


class StageSequence:
    """Stages one after the other, cut into segments.

    Args:
        stages: -> all of them; asked anew for every pass, so that nothing but the network itself holds its layers.
        starts: the stages with which segments begin, 0 first, rising. What is between two segments is kept where
            activations are computed again, so it had better be small.
        train: from segments.make_training.
    """

    def __init__(self, stages: Callable[[], list[Stage]], starts: Sequence[int], train: segments.Training):
        self._stages, self._starts, self._train = stages, starts, train

    def __call__(self, x: tf.Tensor, training: bool, seed: Optional[tf.Tensor], layers: Sequence[int]):
        """What the last stage makes of x; or the list of what the stages `layers` make, and nothing behind the highest.

        Raises:
            UserError: there is no such stage.
        """
        plan = self._plan(tuple(layers))
        outputs = self._train(plan, x, seed) if training else segments.run(plan, x)
        return outputs if layers else outputs[0]

    def _plan(self, layers: tuple[int, ...]) -> segments.Plan:
        stages = self._stages()
        for layer in layers:
            if not 0 <= layer < len(stages):
                raise UserError(
                    f'`layers` ({",".join(map(str, layers))}) has {layer}; the layers of this generator are numbered '
                    f'from 0 to {len(stages) - 1}.'
                )
        last = max(layers, default=len(stages) - 1)

        def handed_out(layer):
            # What the reference kept is changed in place, values and gradients, unless the pass has ended before.
            while layer < last and stages[layer + 1].in_place:
                layer += 1
            return layer

        return self._cut([handed_out(layer) for layer in layers or [last]])

    def _cut(self, handed_out: Sequence[int]) -> segments.Plan:
        """The segments up to the last stage that is handed out."""
        end = max(handed_out) + 1
        starts = [start for start in self._starts if start < end]
        parts, stage_of_value = [], [None]  # the network's input comes from no stage
        for start, stop in zip(starts, [*starts[1:], end]):
            kept = tuple(stage for stage in range(start, stop - 1) if stage in handed_out)
            newest, arguments = len(stage_of_value) - 1, (start, stop, kept)
            parts.append(segments.Segment(self._compute, (newest,), arguments, len(kept) + 1, inline=start == 0))
            stage_of_value += [*kept, stop - 1]
        return segments.Plan(parts, [stage_of_value.index(stage) for stage in handed_out])

    def _compute(self, start, stop, kept, x, training, seed):
        """The outputs of the stages `kept` between `start` and `stop`, and of the last one before `stop`."""
        outputs, given = [], {'training': training, 'seed': seed}
        for index, stage in enumerate(self._stages()[start:stop], start):
            x = stage.function(x, **{name: given[name] for name in stage.takes})
            if index in kept:
                outputs.append(x)
        return [*outputs, x]

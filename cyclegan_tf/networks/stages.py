"""A network as a sequence of stages, numbered as in the reference, which can return the output of any stage."""

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
        takes: names of the arguments that it takes besides x.
        in_place: in PyTorch the operation overwrites x in memory, so that a stored reference to x holds the result.
    """

    function: Callable[..., tf.Tensor]
    takes: tuple[str, ...] = ()
    in_place: bool = False


class StageSequence:
    """Consecutive stages, cut into segments.

    Args:
        stages: function that returns all stages. It is called for every pass, so that only the network itself holds its
            layers.
        starts: indices of the stages at which segments begin, ascending from 0. With recomputation, the values between
            segments stay in memory, so they should be small.
        train: as segments.make_training returns it.
    """

    def __init__(self, stages: Callable[[], list[Stage]], starts: Sequence[int], train: segments.Training):
        self._stages, self._starts, self._train = stages, starts, train

    def __call__(self, x: tf.Tensor, training: bool, seed: Optional[tf.Tensor], layers: Sequence[int]):
        """The last stage's output; with `layers`, a list of the outputs of these stages, and no stage after them runs.

        Raises:
            UserError: a stage in `layers` does not exist.
        """
        plan = self._plan(tuple(layers))
        outputs = self._train(plan, x, seed) if training else segments.run(plan, x)
        return outputs if layers else outputs[0]

    def keeps(self, layer: int) -> bool:
        """Whether a stage's output is the same whether or not later stages run."""
        stages = self._stages()
        return layer + 1 >= len(stages) or not stages[layer + 1].in_place

    def _plan(self, layers: tuple[int, ...]) -> segments.Plan:
        stages = self._stages()
        for layer in layers:
            if not 0 <= layer < len(stages):
                raise UserError(
                    f'`layers` ({",".join(map(str, layers))}) contains {layer}; the layers of this generator are '
                    f'numbered from 0 to {len(stages) - 1}.'
                )
        last = max(layers, default=len(stages) - 1)

        def overwritten_by(layer):
            # In the reference, in-place stages that follow overwrite the stored output, both values and gradients,
            # unless the pass has ended before them.
            while layer < last and stages[layer + 1].in_place:
                layer += 1
            return layer

        return self._cut([overwritten_by(layer) for layer in layers or [last]])

    def _cut(self, returned: Sequence[int]) -> segments.Plan:
        """The segments up to the last stage whose output is returned."""
        end = max(returned) + 1
        starts = [start for start in self._starts if start < end]
        parts, stage_of_value = [], [None]  # the network's input comes from no stage
        for start, stop in zip(starts, [*starts[1:], end]):
            kept = tuple(stage for stage in range(start, stop - 1) if stage in returned)
            newest, arguments = len(stage_of_value) - 1, (start, stop, kept)
            parts.append(segments.Segment(self._compute, (newest,), arguments, len(kept) + 1, inline=start == 0))
            stage_of_value += [*kept, stop - 1]
        return segments.Plan(parts, [stage_of_value.index(stage) for stage in returned])

    def _compute(self, start, stop, kept, x, training, seed):
        """The outputs of the stages `kept` between `start` and `stop`, and of the last one before `stop`."""
        outputs, given = [], {'training': training, 'seed': seed}
        for index, stage in enumerate(self._stages()[start:stop], start):
            x = stage.function(x, **{name: given[name] for name in stage.takes})
            if index in kept:
                outputs.append(x)
        return [*outputs, x]

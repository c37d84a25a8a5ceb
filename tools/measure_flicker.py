"""Measures how much translations of a still scene flicker: python tools/measure_flicker.py --run=RUN --image=FILE

The image stands for a camera that does not move. Two videos are made of it and translated, with the statistics of norms
of each frame and with smoothed ones (--smooth_statistics of cyclegan_tf.translate):

- noise: every frame has its own noise, as a sensor's;
- lamp: besides, a white square goes on and off in the upper left corner, and only what is far from it is measured.

The figures are the mean absolute change from frame to frame, as a multiple of the input's.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Optional

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cyclegan_tf.errors import UserError, first_line  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import same, setting, validate_fields  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402

_FRAMES = 25
_RATE = 25  # frames a second
_LAMP = 4  # frames for which it is on, and then off


@dataclasses.dataclass(frozen=True)
class FlickerConfig:
    """What is measured."""

    run: str = setting('', 'directory of the run, CHECKPOINTS_DIR/NAME; required')
    image: str = setting('', 'image of the scene; required')
    direction: Optional[str] = setting(None, 'direction of the translation; unset: the first', choices=('AtoB', 'BtoA'))
    noise: float = setting(3.0, 'standard deviation of the noise, in levels of 255', minimum=0.0)
    verbose: bool = same(Config, 'verbose')

    def __post_init__(self):
        validate_fields(self)
        for name in ('run', 'image'):
            if not getattr(self, name):
                raise UserError(f"`{name}` ('') is required; set it.")


def parse(argv: Sequence[str]) -> FlickerConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(FlickerConfig, argv)


def main(settings: FlickerConfig) -> int:
    """Prints the figures; returns the exit status."""
    import numpy as np
    from PIL import Image

    import cyclegan_tf
    from cyclegan_tf.runtime.console import progress_bar
    from cyclegan_tf.translation.video import kept_share

    translator = cyclegan_tf.load(settings.run)
    direction = translator.translation(settings.direction).name
    try:
        scene = np.asarray(Image.open(settings.image).convert('RGB'), np.float32)
    except (OSError, ValueError) as error:
        raise UserError(f"`image` ('{settings.image}') cannot be read ({first_line(error)}); correct it.") from error
    height, width = scene.shape[:2]
    rng = np.random.default_rng(0)
    noise = np.stack([scene] * _FRAMES) + rng.normal(0, settings.noise, (_FRAMES, *scene.shape))
    lamp = noise.copy()
    lamp[np.arange(_FRAMES) // _LAMP % 2 == 0, : height // 4, : width // 4] = 255
    far = np.s_[:, 3 * height // 4 :, 3 * width // 4 :]
    share = kept_share(1 / _RATE)
    print(f'{direction}: smoothed statistics have an effect: {translator.smooths_statistics(direction)}')
    for name, frames, part in (('noise', noise, np.s_[:]), ('lamp', lamp, far)):
        frames = np.clip(frames, 0, 255).astype(np.float32) / np.float32(127.5) - 1
        line = []
        for what, kept in (('of each frame', 0.0), ('smoothed', share)):
            results = [
                translator.translate_frame(frame, direction, kept if number else 0.0)
                for number, frame in enumerate(progress_bar(frames, f'{name}, {what}', unit='frames'))
            ]
            changes = [np.abs(np.diff(of_all, axis=0)[part]).mean(axis=(1, 2, 3)) for of_all in (frames, results)]
            before, after = changes[0].mean(), changes[1]
            line.append(f'{what} {after.mean() / before:.2f}, at most {after.max() / before:.2f}')
        print(f'{name}: {"; ".join(line)}', flush=True)
    return 0


if __name__ == '__main__':
    run_program('tools/measure_flicker.py', parse, main)

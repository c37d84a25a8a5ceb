"""The documentation's picture of the augmentation policies: python tools/augment_sheet.py --output=docs/augment.jpg

One row for each policy: a photograph of the demo unchanged, then the same photograph with different random changes.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import setting, validate_fields  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# Lengths on the sheet, in pixels.
SIDE = 144  # of a picture
GAP = 4
WIDE_GAP = 16  # between the photograph and its augmented versions
NAME_WIDTH = 84
HEADING = 28
MARGIN = 10
QUALITY = 88  # of the JPEG


@dataclasses.dataclass(frozen=True)
class SheetConfig:
    """What is drawn, and where it is written."""

    output: str = setting('docs/augment.jpg', 'JPEG file to write')
    draws: int = setting(6, 'number of augmented pictures in a row', minimum=1)
    seed: int = setting(0, 'random seed of the augmentations')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)


def parse(argv: Sequence[str]) -> SheetConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(SheetConfig, argv)


def main(config: SheetConfig) -> int:
    """Draws the sheet and writes it; returns the exit status."""
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    from cyclegan_tf.data import demo

    sheet(demo.regions('test', 'A'), config.draws, config.seed).save(config.output, quality=QUALITY)
    return 0


def sheet(photographs: dict[str, np.ndarray], draws: int, seed: int) -> Image.Image:
    """Draws all policies, each on the next photograph.

    Args:
        photographs: name -> uint8 [h, w, 3].
        draws: number of augmented pictures in a row.
        seed: random seed of the augmentations.
    """
    import numpy as np
    import tensorflow as tf
    from PIL import Image, ImageDraw, ImageFont

    from cyclegan_tf.data import policies

    lefts = [NAME_WIDTH] + [NAME_WIDTH + SIDE + WIDE_GAP + i * (SIDE + GAP) for i in range(draws)]
    size = (lefts[-1] + SIDE + MARGIN, HEADING + len(policies.POLICIES) * (SIDE + GAP) - GAP + MARGIN)
    canvas, font = Image.new('RGB', size, 'white'), ImageFont.load_default(16)
    pen = ImageDraw.Draw(canvas)
    for left, heading in ((lefts[0], 'photograph'), (lefts[1], 'augmented')):
        pen.text((left, HEADING // 2), heading, 'black', font, anchor='lm')
    for row, name in enumerate(policies.POLICIES):
        photograph = list(photographs.values())[row % len(photographs)]
        policy = policies.make_policy(name, channels=3)
        numbers = tf.random.stateless_uniform([draws, policy.num_random], [seed, row], 0, policies.NUMBERS, tf.int32)
        changed = policy(tf.repeat(photograph[None].astype(np.float32), draws, axis=0), numbers)
        top = HEADING + row * (SIDE + GAP)
        pen.text((MARGIN, top + SIDE // 2), name, 'black', font, anchor='lm')
        for left, image in zip(lefts, [photograph, *np.round(changed).astype(np.uint8)]):
            canvas.paste(Image.fromarray(image).resize((SIDE, SIDE), Image.LANCZOS), (left, top))
    return canvas


if __name__ == '__main__':
    run_program('tools/augment_sheet.py', parse, main)

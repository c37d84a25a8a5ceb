"""The documentation's picture of the augmentation policies: python tools/augment_sheet.py --output=docs/augment.jpg

One row a policy: a photograph of the demo as it is, then the same photograph augmented with other numbers each time.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

# isort: off
import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# isort: on
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from cyclegan_tf.data import demo, policies  # noqa: E402

# Pixels of the sheet.
SIDE = 144  # of a picture
GAP = 4
WIDE_GAP = 16  # between the photograph and what becomes of it
NAME_WIDTH = 84
HEADING = 28
MARGIN = 10
QUALITY = 88  # of the JPEG


def sheet(photographs: dict[str, np.ndarray], draws: int, seed: int) -> Image.Image:
    """All policies, each on the next photograph.

    Args:
        photographs: name -> uint8 [h, w, 3].
        draws: augmented pictures in a row.
        seed: of the numbers.
    """
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--output', default='docs/augment.jpg', help='the JPEG file to write')
    parser.add_argument('--draws', type=int, default=6, help='augmented pictures in a row')
    parser.add_argument('--seed', type=int, default=0, help='of the draws')
    arguments = parser.parse_args()
    picture = sheet(demo.regions('test', 'A'), arguments.draws, arguments.seed)
    picture.save(arguments.output, quality=QUALITY)


if __name__ == '__main__':
    main()

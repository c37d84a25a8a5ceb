"""The demo's data set: day and "day for night", made from photographs that installed packages ship.

Domain A shows regions of seven photographs as they were taken. Domain B shows other regions of the same photographs
after "day for night", the cinema's way of shooting a night scene in daylight: underexposed, drained of colour and
tinted blue. No training region appears in both domains, so that the data is unpaired; the held-out regions exist in
both, so that a translation can be measured.

The photographs (scikit-image ships the first five, scikit-learn the last two):

    astronaut    Eileen Collins, NASA; public domain
    chelsea      Stefan van der Walt; CC0
    coffee       Rachel Michetti; CC0
    motorcycle   Middlebury 2014 stereo benchmark (Scharstein et al. 2014), left view; scikit-image states no licence
    rocket       SpaceX; public domain
    china        Daniel Buechele; CC BY 2.0
    flower       vultilion; CC BY 2.0
"""

from __future__ import annotations

import functools
import importlib.util
import pathlib

import numpy as np
from PIL import Image

from cyclegan_tf.data.channels import REC_709
from cyclegan_tf.errors import UserError

TILE = 64  # side of a training region, pixels
PAIRED = 2 * TILE  # side of a training region of pairs
HELD_OUT = 256  # side of a held-out region, four tiles

# Photograph -> (package, file inside it, held-out region's row and column in tiles).
PHOTOGRAPHS = {
    'astronaut': ('skimage', 'data/astronaut.png', 0, 2),
    'chelsea': ('skimage', 'data/chelsea.png', 0, 1),
    'china': ('sklearn', 'datasets/images/china.jpg', 2, 4),
    'coffee': ('skimage', 'data/coffee.png', 0, 2),
    'flower': ('sklearn', 'datasets/images/flower.jpg', 0, 4),
    'motorcycle': ('skimage', 'data/motorcycle_left.png', 2, 3),
    'rocket': ('skimage', 'data/rocket.jpg', 2, 2),
}

# Day for night: linear light is scaled by EXPOSURE, its saturation by SATURATION, and the result is tinted.
EXPOSURE = 0.28
SATURATION = 0.85
TINT = (0.45, 0.80, 1.60)
GAMMA = 2.2  # of the photographs; close enough to sRGB's curve


def day_for_night(image: np.ndarray) -> np.ndarray:
    """The known transformation between the demo's domains: uint8 [h, w, 3] -> uint8 [h, w, 3]."""
    light = (image.astype(np.float32) / 255) ** GAMMA
    gray = light @ np.array(REC_709, np.float32)
    light = gray[..., None] + SATURATION * (light - gray[..., None])
    light = np.clip(light * EXPOSURE * np.array(TINT, np.float32), 0, 1)
    return np.round(255 * light ** (1 / GAMMA)).astype(np.uint8)


@functools.cache
def regions(phase: str, domain: str, paired: bool = False) -> dict[str, np.ndarray]:
    """The demo's images by name.

    Args:
        phase: 'train': regions of 64x64, disjoint between the domains; 'test': regions of 256x256 that overlap no
            training image, the same in both domains.
        domain: 'A' (day) or 'B' (night).
        paired: the training regions are the same in both domains, as for pix2pix: all of 128x128 on a grid of 64
            pixels that overlap no test image.

    Returns:
        Name -> uint8 [h, w, 3].

    Raises:
        UserError: a package with photographs is missing, or lacks one of them.
    """
    change = day_for_night if domain == 'B' else np.asarray
    result = {}
    for name, (package, file, row, column) in PHOTOGRAPHS.items():
        photograph = _photograph(package, file)
        if phase == 'test':
            top, left = row * TILE, column * TILE
            result[name] = change(photograph[top : top + HELD_OUT, left : left + HELD_OUT])
            continue
        side, tiles = HELD_OUT // TILE, (PAIRED if paired else TILE) // TILE
        for r in range(photograph.shape[0] // TILE - tiles + 1):
            for c in range(photograph.shape[1] // TILE - tiles + 1):
                held_out = row - tiles < r < row + side and column - tiles < c < column + side
                # A checkerboard gives both domains the same share of sky, ground and objects.
                if not held_out and (paired or (r + c) % 2 == (domain == 'B')):
                    region = photograph[r * TILE : (r + tiles) * TILE, c * TILE : (c + tiles) * TILE]
                    result[f'{name}_{r}_{c}'] = change(region)
    return result


def _photograph(package: str, file: str) -> np.ndarray:
    spec = importlib.util.find_spec(package)  # finds the package without importing it, which would take seconds
    if spec is None:
        raise UserError(
            f"`dataroot` (demo) needs photographs of the package {package}; install cyclegan_tf's extra 'demo'."
        )
    path = pathlib.Path(spec.origin).parent / file
    if not path.is_file():
        raise UserError(
            f"`dataroot` (demo) needs '{path}', which this release of {package} does not ship; install another release."
        )
    return _decoded(path)


@functools.cache
def _decoded(path: pathlib.Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert('RGB'))

"""The documentation's picture of the demo: python tools/demo_sheet.py --output=docs/demo.jpg

It shows results that tools/demo.sh has left in results/demo. One row for each photograph: day, the night made of it,
night, the day made of it.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from picture_grid import QUALITY, grid
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import setting, validate_fields  # noqa: E402

COLUMNS = {'real_A': 'day', 'fake_B': 'night made of it', 'real_B': 'night', 'fake_A': 'day made of it'}


@dataclasses.dataclass(frozen=True)
class SheetConfig:
    """What is drawn, and where it is written."""

    output: str = setting('docs/demo.jpg', 'JPEG file to write')
    images: str = setting('results/demo/test_latest/images', 'folder with the translated images of the run')
    names: str = setting('astronaut,china,motorcycle', 'names of the photographs, separated by commas')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)


def parse(argv: Sequence[str]) -> SheetConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(SheetConfig, argv)


def main(config: SheetConfig) -> int:
    """Draws the sheet and writes it; returns the exit status."""
    sheet(pathlib.Path(config.images), config.names.split(',')).save(config.output, quality=QUALITY)
    return 0


def sheet(images: pathlib.Path, names: list[str]) -> Image.Image:
    """Draws some photographs, translated in both directions.

    Args:
        images: folder with the files NAME_LABEL.png, all of the same size.
        names: names of the photographs.

    Raises:
        FileNotFoundError: a picture does not exist.
    """
    rows = [[Image.open(images / f'{name}_{label}.png').convert('RGB') for label in COLUMNS] for name in names]
    headings = list(COLUMNS.values())
    return grid([headings[:2], headings[2:]], rows)


if __name__ == '__main__':
    run_program('tools/demo_sheet.py', parse, main)

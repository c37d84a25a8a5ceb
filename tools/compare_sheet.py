"""Pictures of settings that tools/compare_settings.py has compared: python tools/compare_sheet.py --compared=FOLDER
--runs=default,other:average --output=sheet.jpg

Each row has a test image of A with its translations by each run, and one of B likewise; the test images are evenly
spread over the names.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from picture_grid import QUALITY, grid
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import setting, validate_fields  # noqa: E402

DIRECTIONS = {'AtoB': ('_real_A.png', '_fake_B.png'), 'BtoA': ('_real_B.png', '_fake_A.png')}
WEIGHTS = ('last', 'average')


@dataclasses.dataclass(frozen=True)
class SheetConfig:
    """What is drawn, and where it is written."""

    compared: str = setting(
        '', 'folders that compare_settings.py wrote to (its --output), separated by commas; required'
    )
    runs: str = setting('', "names of the runs, separated by commas; 'NAME:average' is its running mean; required")
    headings: str = setting(
        '',
        'what is written above: for the images of A, those of B, and for each run, separated by '
        "commas; unset: A, B, and the runs' names",
    )
    count: int = setting(6, 'number of test images of each domain', minimum=1)
    scale: int = setting(1, 'how many times as large pictures are drawn, by repeating pixels', minimum=1)
    output: str = setting('sheet.jpg', 'JPEG file to write')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        for name in ('compared', 'runs'):
            if not getattr(self, name):
                raise UserError(f"`{name}` ('') is required; set it.")
        for run in self.runs.split(','):
            if run.partition(':')[2] not in ('', *WEIGHTS):
                raise UserError(f"`runs` ('{self.runs}'): '{run}' does not end in ':average' or ':last'; correct it.")
        wanted = 2 + len(self.runs.split(','))
        if self.headings and len(self.headings.split(',')) != wanted:
            raise UserError(f"`headings` ('{self.headings}') needs {wanted} words, for A, B and each run; correct it.")


def parse(argv: Sequence[str]) -> SheetConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(SheetConfig, argv)


def main(config: SheetConfig) -> int:
    """Draws the sheet and writes it; returns the exit status.

    Raises:
        UserError: a run is not found, or has no such translations.
    """
    compared = [pathlib.Path(path).expanduser() for path in config.compared.split(',')]
    runs = config.runs.split(',')
    names = config.headings.split(',') if config.headings else ['A', 'B', *(run.partition(':')[0] for run in runs)]
    halves = []
    for direction, endings in DIRECTIONS.items():
        folders = [find(compared, *run.partition(':')[::2], direction) for run in runs]
        halves.append(columns(folders, endings, config.count))
    rows = [[enlarged(path, config.scale) for path in (*left, *right)] for left, right in zip(*halves)]
    groups = [[names[side], *names[2:]] for side in range(2)]
    grid(groups, rows).save(config.output, quality=QUALITY)
    return 0


def find(compared: Sequence[pathlib.Path], run: str, weights: str, direction: str) -> pathlib.Path:
    """The folder with a run's translations in one direction."""
    wanted = f'judged/{run}/{weights or "last"}/{direction}/*/test_latest/images'
    for folder in (found for path in compared for found in path.glob(wanted)):
        return folder
    raise UserError(f'`runs`: no {wanted} in {" or ".join(map(str, compared))}; has `{run}` been judged?')


def columns(folders: Sequence[pathlib.Path], endings: tuple[str, str], count: int) -> list[list[pathlib.Path]]:
    """Rows of files: an image, and its translation in each of the folders."""
    real, fake = endings
    stems = sorted(path.name[: -len(real)] for path in folders[0].glob(f'*{real}'))
    chosen = [stems[index * len(stems) // count] for index in range(min(count, len(stems)))]
    return [[folders[0] / f'{stem}{real}', *(folder / f'{stem}{fake}' for folder in folders)] for stem in chosen]


def enlarged(path: pathlib.Path, scale: int) -> Image.Image:
    """A picture with every pixel repeated: smoothing would hide what is being compared."""
    picture = Image.open(path).convert('RGB')
    return picture.resize((picture.width * scale, picture.height * scale), Image.NEAREST)


if __name__ == '__main__':
    run_program('tools/compare_sheet.py', parse, main)

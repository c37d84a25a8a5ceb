"""The page of a run, index.html in its directory: a picture of each epoch and the curves, while it trains."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from PIL import Image

from cyclegan_tf.data.levels import to_uint8
from cyclegan_tf.errors import UserError
from cyclegan_tf.runs.curves import Curves
from cyclegan_tf.runs.summaries import as_rgb
from cyclegan_tf.runtime.files import sync, whole_file, write_json
from cyclegan_tf.settings.training import Config
from cyclegan_tf.translation import gallery
from cyclegan_tf.translation.charts import Chart

_PAGE, _FOLDER, _RECORD = 'index.html', 'pictures', 'pictures.json'
_MOST_EPOCHS, _NEWEST = 50, 9  # that are shown, and how many of them are always the last ones
_ADVERSARIES = 'Generator and discriminator'
_SHARE = 0.01  # of the time, that writing the page may take between checkpoints


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The pictures of the end of an epoch.

    Attributes:
        number: of the epoch.
        step: number of steps done then.
        of_test: whether they show test images, and not images of the training.
        pictures: direction, in the model's domains ('A_to_B') -> column ('real_A') -> picture.
    """

    number: int
    step: int
    of_test: bool
    pictures: Mapping[str, Mapping[str, gallery.Picture]]

    @property
    def paths(self) -> set[str]:
        """The files, relative to the page."""
        return {picture.path for columns in self.pictures.values() for picture in columns.values()}


class RunPage:
    """Writes a run's page and its pictures, with pictures.json, which says what they are.

    A kill at any moment leaves a page of which all pictures are there: each file appears completely, pictures before
    the page that names them, and what a new page no longer names is deleted after that.

    Args:
        run_directory: directory of the run.
        config: the run's settings.
        total_steps: number of steps of the complete run.
        curves: the points to draw, which others add to.
        writes: False writes nothing, for all workers but one.
    """

    def __init__(
        self, run_directory: pathlib.Path, config: Config, total_steps: int, curves: Curves, writes: bool = True
    ):
        self._directory, self._config, self._total_steps, self._curves = run_directory, config, total_steps, curves
        self._writes = writes
        # With no_html, what an earlier part of the run has left is still cut to a step, so that it stays true.
        self.grows = writes and not config.no_html
        self._epochs: list[Epoch] = []
        self._is_open = False  # whether the page may be written, as the pictures that are there are known
        self._next_time = 0.0  # before which the page is not written again, unless it has to be

    @property
    def _record(self) -> pathlib.Path:
        return self._directory / _FOLDER / _RECORD

    def cut(self, step: int) -> None:
        """Takes what the directory holds of the steps up to this one, and writes the page without the later ones.

        Raises:
            OSError: a file cannot be written.
            UserError: pictures.json is damaged.
        """
        if not (self.grows or (self._writes and self._record.exists())):
            return
        found = _read_epochs(self._record)
        self._is_open = True
        for path in self._record.parent.glob('.*.part'):
            path.unlink()
        there = {f'{_FOLDER}/{path.name}' for path in self._record.parent.glob('*')}
        self._epochs = [one for one in found if one.step <= step and one.paths <= there]
        if self._epochs != found:
            self._write_record()
        self.write(step)
        self._is_open = self.grows

    def add_epoch(
        self, number: int, step: int, columns: Mapping[str, Mapping[str, Sequence[np.ndarray]]], of_test: bool
    ) -> None:
        """Adds the first picture of each column; the page is written if it was not just before.

        Args:
            number: of the epoch that ends.
            step: number of steps done.
            columns: direction -> name of the column -> pictures, float [h, w, c] in [-1, 1].
            of_test: whether they show test images.

        Raises:
            OSError: a file cannot be written.
        """
        if not self.grows:
            return
        self._record.parent.mkdir(exist_ok=True)
        pictures = {
            direction: {
                name: self._save(of_column[0], f'epoch-{number:04}_{direction}_{name}.jpg')
                for name, of_column in of_direction.items()
            }
            for direction, of_direction in columns.items()
        }
        epoch = Epoch(number, step, of_test, pictures)
        sync(self._directory / path for path in sorted(epoch.paths))
        self._epochs = _thin([*self._epochs, epoch])
        self._write_record()
        self.write_if_due(step)

    def _save(self, picture: np.ndarray, name: str) -> gallery.Picture:
        pixels = as_rgb(to_uint8(picture))
        with whole_file(self._record.parent / name) as partial:
            # Without the usual loss of colours, which would hide what the page is looked at for.
            Image.fromarray(pixels).save(partial, 'JPEG', quality=95, subsampling=0)
        return gallery.Picture(f'{_FOLDER}/{name}', pixels.shape[1], pixels.shape[0])

    def _write_record(self) -> None:
        write_json(self._record, {'epochs': [dataclasses.asdict(epoch) for epoch in self._epochs]})
        sync([self._record])

    def write_if_due(self, step: int) -> None:
        """Writes the page, unless that would take more than about 1 % of the time."""
        if time.monotonic() >= self._next_time:
            self.write(step)

    def write(self, step: int) -> None:
        """Writes the page as of a step, and then deletes pictures that it does not name.

        Raises:
            OSError: a file cannot be written.
        """
        if not self._is_open:
            return
        start = time.monotonic()
        config, epochs = self._config, self._epochs
        links = {'settings': 'flags.cfg', **({'points of the curves': 'scalars.csv'} if config.log_csv else {})}
        gallery.write_page(
            self._directory / _PAGE,
            f'{config.run_name}: training',
            f'{config.model}, {config.netG}. Step {step:,} of {self._total_steps:,}, '
            f'{time.strftime("%Y-%m-%d %H:%M")}. {_about_pictures(epochs)}',
            self._sections(),
            links,
            _charts(self._curves),
            'Losses are means between reports and do not say how good the pictures are; the newest value is beside '
            'each name.',
        )
        named = set().union(*(epoch.paths for epoch in epochs))
        for path in self._record.parent.glob('epoch-*.jpg'):
            if f'{_FOLDER}/{path.name}' not in named:
                path.unlink()
        self._next_time = time.monotonic() + (time.monotonic() - start) / _SHARE

    def _sections(self) -> list[gallery.Section]:
        directions = dict.fromkeys(direction for epoch in self._epochs for direction in epoch.pictures)
        return [self._section(direction) for direction in directions]

    def _section(self, direction: str) -> gallery.Section:
        source, target = direction.split('_to_')
        is_swapped = self._config.direction == 'BtoA'
        swapped = ' With --direction=BtoA, A is what the data set calls B.' if is_swapped else ''
        shown = [epoch for epoch in reversed(self._epochs) if direction in epoch.pictures]
        rows = [
            gallery.Row(
                f'Epoch {epoch.number}',
                epoch.pictures[direction],
                f'step {epoch.step:,}{"" if epoch.of_test else ", an image of the training set"}',
            )
            for epoch in shown
        ]
        facts = {'epoch': f'{shown[0].number:,}', 'step': f'{shown[0].step:,}', **self._measures(source, target)}
        return gallery.Section(f'{source} to {target}', f'{_about_epochs(shown)}{swapped}', rows, facts)

    def _measures(self, source: str, target: str) -> dict[str, str]:
        """The newest measures of test images in a direction, by name."""
        domains = dict(zip('AB', self._config.domains))
        ending = f'_{domains[source]}to{domains[target]}'
        return {
            tag.removeprefix('eval/').removesuffix(ending): f'{curve.last:.4g}'
            for tag, curve in self._curves.items()
            if tag.startswith('eval/') and tag.endswith(ending) and curve.last is not None
        }


def _about_pictures(epochs: Sequence[Epoch]) -> str:
    if not epochs:
        return 'Pictures follow at the end of the first epoch.'
    if epochs[-1].of_test:
        return 'The pictures are of the first test image of each domain.'
    return 'No test images were found, so the pictures are of training images, of another one in each epoch.'


def _about_epochs(epochs: Sequence[Epoch]) -> str:
    """Which epochs are shown, of those given with the newest first."""
    numbers = [epoch.number for epoch in epochs]
    newest, first, distance = numbers[0], numbers[-1], _distance(numbers[0])
    last = next((i for i, number in enumerate(numbers) if number != newest - i), len(numbers))
    if last == len(numbers):
        return f'The end of each epoch{f" from {first} on" if first > 1 else ""}, the newest first.'
    if set(numbers) == {n for n in range(1, newest + 1) if n == 1 or n > newest - _NEWEST or n % distance == 0}:
        return (
            f'The end of each epoch, the newest first. Of those before the last {_NEWEST}, every {_ordinal(distance)} '
            f'is kept.'
        )
    # After going back, of what is older less is there than would have been kept; without a page, nothing.
    which = f'each of the last {last} epochs' if last > 1 else 'the last epoch'
    return f'The end of {which}, the newest first, and of some before.'


def _ordinal(number: int) -> str:
    return f'{number}{"nd" if number == 2 else "th"}'


def _distance(newest: int) -> int:
    """Of which number's multiples epochs are kept, a power of 2: those that are kept now are so from the beginning."""
    distance = 1
    while newest // distance > _MOST_EPOCHS - _NEWEST - 1:
        distance *= 2
    return distance


def _thin(epochs: Sequence[Epoch]) -> list[Epoch]:
    """At most 50 epochs: the first one, the last ones, and of the others those of equal distances."""
    newest = epochs[-1].number
    distance = _distance(newest)
    return [
        epoch
        for i, epoch in enumerate(epochs)
        if i == 0 or epoch.number > newest - _NEWEST or epoch.number % distance == 0
    ]


def _read_epochs(path: pathlib.Path) -> list[Epoch]:
    if not path.exists():
        return []
    try:
        return [
            Epoch(
                **{
                    **epoch,
                    'pictures': {
                        direction: {name: gallery.Picture(**picture) for name, picture in columns.items()}
                        for direction, columns in epoch['pictures'].items()
                    },
                }
            )
            for epoch in json.loads(path.read_text(encoding='utf-8'))['epochs']
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' is damaged; delete it, with which the run's page begins anew.") from error


def _charts(curves: Curves) -> list[Chart]:
    """Losses in charts of one domain's adversaries, then of the rest; measures in a chart each."""
    titles: dict[str, list[str]] = {}
    measured = [tag.removeprefix('eval/') for tag in curves if tag.startswith('eval/')]
    losses = [tag.removeprefix('loss/') for tag in curves if tag.startswith('loss/')]
    # The adversaries first, as that is where a training goes wrong.
    for name in sorted(losses, key=lambda name: not _title_of_loss(name, curves).startswith(_ADVERSARIES)):
        titles.setdefault(_title_of_loss(name, curves), []).append(f'loss/{name}')
    for name in measured:
        titles.setdefault(f'{name.rpartition("_")[0]}, test images', []).append(f'eval/{name}')
    charts = []
    for title, tags in titles.items():
        points = {tag.partition('/')[2]: curves[tag].points() for tag in tags}
        # A loss whose weight is 0 is 0 at all steps.
        newest = {name: curves[tag].last for name, tag in zip(points, tags)}
        shown = {
            name: of_name
            for name, of_name in points.items()
            if of_name and (any(value for _, value in of_name) or not math.isfinite(newest[name]))
        }
        if shown:
            charts.append(Chart(title, shown, newest))
    return charts


def _title_of_loss(name: str, curves: Collection[str]) -> str:
    stem, _, domain = name.rpartition('_')
    if stem in ('G', 'D') and {f'loss/G_{domain}', f'loss/D_{domain}'} <= set(curves):
        return f'{_ADVERSARIES}, {domain}'
    if name in ('G_GAN', 'D_real', 'D_fake'):
        return _ADVERSARIES
    return {'cycle': 'Cycle consistency', 'idt': 'Identity'}.get(stem, 'Other losses')

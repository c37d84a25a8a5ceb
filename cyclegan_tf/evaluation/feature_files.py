"""Features of more images than fit into memory: files in a folder that all workers reach."""

from __future__ import annotations

import dataclasses
import pathlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime.files import whole_file
from cyclegan_tf.settings.spark_measure import SparkMeasureConfig


@dataclasses.dataclass(frozen=True)
class Place:
    """Where workers find each other's results.

    Attributes:
        settings: of the program.
        folder: absolute path of a folder that all workers reach.
    """

    settings: SparkMeasureConfig
    folder: str

    def path(self, file: str) -> pathlib.Path:
        """Of a file in the folder."""
        return pathlib.Path(self.folder) / file

    def write(self, side: str, ending: str, save: Callable[[Any], None]) -> str:
        """Writes a file under a new name, which it returns: what a worker does that was given up, but goes on, must not
        replace what another one has done in its place.

        Raises:
            UserError: it cannot be written.
        """
        path = self.path(f'{side}-{uuid.uuid4().hex}{ending}')
        try:
            with whole_file(path) as partial, partial.open('wb') as file:
                save(file)
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise UserError(
                f"`results_dir` ('{self.settings.results_dir}') cannot be written by a worker ({reason}); set it to a "
                f'folder that all workers reach, with enough space.'
            ) from error
        return path.name


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of all images of a side, in files.

    Attributes:
        place: where these are.
        files: their names, in the order of the images.
        counts: number of rows of each.
    """

    place: Place
    files: tuple[str, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.counts)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The rows of each file, float64 [any, d], one file after another."""
        return self.of_files(slice(None))

    def of_files(self, files: slice) -> Iterator[np.ndarray]:
        """The same of some files."""
        return (np.load(self.place.path(file)).astype(np.float64) for file in self.files[files])

    def rows(self, chosen: np.ndarray) -> np.ndarray:
        """Some rows, of which alone memory is taken: int [n] -> float64 [n, d]."""
        ends = np.cumsum(self.counts)
        of_rows = np.searchsorted(ends, chosen, side='right')  # the file of each
        gathered = None
        for number in np.unique(of_rows):
            mapped = np.load(self.place.path(self.files[number]), mmap_mode='r')
            if gathered is None:
                gathered = np.empty((len(chosen), mapped.shape[1]))
            of_file = of_rows == number
            gathered[of_file] = mapped[chosen[of_file] - (ends[number] - self.counts[number])]
        return gathered

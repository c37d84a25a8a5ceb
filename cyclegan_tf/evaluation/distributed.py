"""FID and KID of two folders in parts, whoever hands them out: what workers do, and how their results combine.

`measure` plans; it needs an engine, such as Spark, for the parts, and no TensorFlow. Features stay in files that all
workers reach, and only what is small comes back: names of files, and one number for each image. Memory is bounded:

- Of a worker: by the images that are read ahead; by the features of 1,024 images; for FID by a few matrices of
  dimensions x dimensions; for KID by the features of two subsets.
- Of the program: by the paths and two numbers for each image, and for FID again by a few such matrices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy as np

from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import metrics, moments, results
from cyclegan_tf.evaluation.feature_files import Features, Place
from cyclegan_tf.runtime import storage
from cyclegan_tf.runtime.console import count
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.runtime.threads import map_ahead
from cyclegan_tf.settings.spark_measure import SparkMeasureConfig
from cyclegan_tf.settings.training import FEATURE_NETWORKS
from cyclegan_tf.translation import archive

if TYPE_CHECKING:  # TensorFlow comes with it
    from cyclegan_tf.evaluation.features import Extractor

SIDES = ('fakes', 'reals')
MEASURED, FAILED = 'measured', 'failed'

_ROWS = 1024  # of a file of features, at most
_ROWS_PER_SUM = 8  # times the dimensions: the sums of so many rows take an eighth of the space of their features
_SUMS_AT_ONCE = 4  # that are combined to one
_SUBSETS_PER_PART = 4

Work = Callable[[int, Iterator[Any]], Iterable[Any]]
# (what is done by a worker with some items, the items, how many make a part or None, a word for the progress, what a
# result adds to counters, their names) -> the results in the order of the items
Run = Callable[[Work, Sequence[Any], Optional[int], str, Callable[[Any], dict[str, int]], Sequence[str]], list]


class Image(NamedTuple):
    """An image to measure: 'fakes' or 'reals', and its path or URL."""

    side: str
    path: str


class Piece(NamedTuple):
    """What became of some images: the name of the file of their features, how many could be used, and why others could
    not, in a line for each."""

    side: str
    file: str
    rows: int
    problems: tuple[str, ...] = ()


class Group(NamedTuple):
    """Files whose moments are summed up: of features, or of moments."""

    side: str
    files: tuple[str, ...]
    are_sums: bool


class Sum(NamedTuple):
    """The name of a file of moments."""

    side: str
    file: str


# ------------------------------------------------------------------------------------------------------ in the program
def find(settings: SparkMeasureConfig) -> list[Image]:
    """The images of both sides, in the order in which cyclegan_tf.evaluate takes them; local paths are absolute, since
    workers need not run where the program does.

    Raises:
        UserError: a side has none.
    """
    nowhere = str(folder_of(settings) / 'none')  # `find` leaves out what is in the folder of the results
    return [
        Image(side, item.path if storage.is_remote(item.path) else os.path.abspath(item.path))
        for side in SIDES
        for item in archive.find(getattr(settings, side), nowhere, argument=side)[: settings.num_test]
    ]


def folder_of(settings: SparkMeasureConfig) -> pathlib.Path:
    """The folder of the results, where cyclegan_tf.evaluate has them."""
    return pathlib.Path(settings.results_dir).expanduser().absolute() / 'folders'


@contextlib.contextmanager
def scratch(settings: SparkMeasureConfig) -> Iterator[Place]:
    """A context with a folder for this process's features, deleted afterwards; what killed processes have left there is
    deleted before, or, if they ran on another machine, told.

    Raises:
        UserError: it cannot be made.
    """
    folder = folder_of(settings)
    make_folder('results_dir', settings.results_dir, folder)
    with storage.Folder('results_dir', str(folder)).scratch() as own:
        for other in sorted(own.parent.iterdir()):
            if other != own:
                print(f"'{other}' is of a program that runs, or was killed on another machine.", file=sys.stderr)
        yield Place(_absolute(settings), str(own))


def _absolute(settings: SparkMeasureConfig) -> SparkMeasureConfig:
    """The settings with absolute paths of the feature network's files."""
    given = {name: getattr(settings, name) for name in ('feature_extractor', 'feature_weights')}
    paths = {name: os.path.expanduser(value) for name, value in given.items() if value not in (None, *FEATURE_NETWORKS)}
    return dataclasses.replace(
        settings, **{name: os.path.abspath(path) for name, path in paths.items() if os.path.exists(path)}
    )


def measure(place: Place, images: Sequence[Image], run: Run) -> None:
    """Measures, prints, writes.

    Args:
        place: from `scratch`.
        images: from `find`.
        run: hands out the work.

    Raises:
        UserError: a side has too few images that can be used; or, after everything else is done, some could not.
    """
    settings = place.settings
    ((about, warning),) = run(functools.partial(describe, settings), [None], None, 'Preparing', _one, ['done'])
    if warning:
        print(warning, file=sys.stderr)
    work = functools.partial(write_features, place, about)
    pieces = run(work, images, None, 'Features', counts_of, [MEASURED, FAILED])
    features = {side: _features(place, side, pieces) for side in SIDES}
    result = {
        name: sum(image.side == side for image in images) for name, side in (('images', 'fakes'), ('reals', 'reals'))
    }
    if 'kid' in settings.measures:
        found = _kid(features, run)
        result['kid'], result['kid_standard_error'] = found.estimate, found.standard_error
    if 'fid' in settings.measures:
        result['fid'] = _fid(place, features, about['dimensions'], run)
    print(f'{count(result["images"], "image")}, compared with {count(result["reals"], "real image")}.')
    for line in results.lines_of(result):
        print(line)
    problems = list(dict.fromkeys(line for piece in pieces for line in piece.problems))
    everything = {
        'results': result,
        'features': about,
        'statistics': {},
        'classes': None,
        'problems': problems,
        'flags': dataclasses.asdict(settings),
    }
    folder = folder_of(settings)
    write_json(folder / 'metrics.json', everything)
    results.write_images(folder / 'images.csv', [])
    print(f'Full results: {folder / "metrics.json"}')
    results.tell_problems(problems)


def _features(place: Place, side: str, pieces: Sequence[Piece]) -> Features:
    """The features of a side; raises UserError if they are too few."""
    of_side = [piece for piece in pieces if piece.side == side]
    usable = [piece for piece in of_side if piece.rows]
    features = Features(place, tuple(piece.file for piece in usable), tuple(piece.rows for piece in usable))
    if len(features) < 2:
        why = next((f' ({line})' for piece in of_side for line in piece.problems), '')
        raise UserError(
            f"`{side}` ('{getattr(place.settings, side)}') has {count(len(features), 'image')} that can be used{why}, "
            f'but at least 2 are needed; add others.'
        )
    return features


def _kid(features: dict[str, Features], run: Run) -> metrics.Kid:
    drawn = metrics.draw_subsets(*(len(features[side]) for side in SIDES))
    if drawn is None:
        items = [(side, files) for side in SIDES for files in group(features[side].counts, _ROWS)]
        parts = run(functools.partial(compare_all, features), items, 1, 'KID', _one, ['done'])
        of_sides = ([part for (own, _), part in zip(items, parts) if own == side] for side in SIDES)
        return metrics.kid_of_all(*map(np.concatenate, of_sides))
    subsets = list(drawn)
    parts = run(functools.partial(compare_subsets, features), subsets, _SUBSETS_PER_PART, 'KID', _one, ['done'])
    found = ((*subset, *part) for subset, part in zip(subsets, parts))
    return metrics.kid_of_subsets(*(len(features[side]) for side in SIDES), found)


def _fid(place: Place, features: dict[str, Features], dimensions: int, run: Run) -> float:
    groups = [
        Group(side, features[side].files[files], False)
        for side in SIDES
        for files in group(features[side].counts, _ROWS_PER_SUM * dimensions)
    ]
    while True:
        sums = run(functools.partial(sum_up, place), groups, 1, 'FID', _one, ['done'])
        for file in (file for one in groups if one.are_sums for file in one.files):
            place.path(file).unlink()
        files = {side: [one.file for one in sums if one.side == side] for side in SIDES}
        if max(map(len, files.values())) == 1:
            break
        groups = [
            Group(side, tuple(of_side[start : start + _SUMS_AT_ONCE]), True)
            for side, of_side in files.items()
            for start in range(0, len(of_side), _SUMS_AT_ONCE)
        ]
    both = [moments.load(place.path(files[side][0])) for side in SIDES]
    return metrics.frechet_of_roots(*(value for one in both for value in (one.mean, one.root_of_covariance)))


def group(counts: Sequence[int], least: int) -> Iterator[slice]:
    """Slices of consecutive counts, each of which adds up to at least so many, but for the last one."""
    start, so_far = 0, 0
    for stop, number in enumerate(counts, 1):
        so_far += number
        if so_far >= least or stop == len(counts):
            yield slice(start, stop)
            start, so_far = stop, 0


def counts_of(piece: Piece) -> dict[str, int]:
    """What a piece adds to the counters of a run."""
    return {MEASURED: piece.rows, FAILED: len(piece.problems)}


def _one(result: Any) -> dict[str, int]:
    return {'done': 1}


# ------------------------------------------------------------------------------------------------------- in the worker
@functools.lru_cache(maxsize=1)
def _extractor(settings: SparkMeasureConfig) -> tuple[Extractor, dict]:
    """The feature extractor, which a process makes once, and its description."""
    from cyclegan_tf.evaluation import evaluator
    from cyclegan_tf.evaluation.features import about_features
    from cyclegan_tf.runtime import hardware

    hardware.prepare_translation()
    extractor = evaluator.make_extractor(settings)
    return extractor, about_features(extractor)


def describe(settings: SparkMeasureConfig, part: int, items: Iterable) -> Iterator[tuple[dict, Optional[str]]]:
    """Of the feature extractor, for metrics.json, and a warning if a GPU is missing; once for each item.

    Raises:
        UserError: there is no such extractor.
    """
    from cyclegan_tf.runtime import hardware

    for _ in items:
        yield _extractor(settings)[1], hardware.missing_gpu_warning()


def write_features(place: Place, about: dict, part: int, images: Iterable[Image]) -> Iterator[Piece]:
    """Writes the features of images.

    Args:
        place: for the files.
        about: describes the feature extractor that is expected.
        part: is not used.
        images: those of one side in a row.

    Raises:
        UserError: the worker has another extractor, features are not finite, or files cannot be written.
    """
    extractor, own = _extractor(place.settings)
    if own != about:
        raise UserError(
            f"`feature_extractor` ('{place.settings.feature_extractor}') is not the same on all workers; give all of "
            f'them the same file.'
        )
    with ThreadPoolExecutor(place.settings.num_threads) as pool:
        for side, of_side in itertools.groupby(images, key=lambda image: image.side):
            while paths := [image.path for image in itertools.islice(of_side, _ROWS)]:
                yield _write_features(place, extractor, side, paths, pool)


def _write_features(
    place: Place, extractor: Extractor, side: str, paths: Sequence[str], pool: ThreadPoolExecutor
) -> Piece:
    problems, used = [], []

    def usable():
        for path, (pixels, problem) in zip(paths, _read_all(place.settings, paths, pool)):
            if problem is None:
                used.append(path)
                yield pixels
            else:
                problems.append(f'{path}: {problem}')

    pictures = usable()
    first = next(pictures, None)
    if first is None:
        return Piece(side, '', 0, tuple(problems))
    vectors = extractor(itertools.chain([first], pictures))
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise UserError(
            f"`{side}` has features that are not finite, those of '{used[broken[0]]}'; check the feature extractor and "
            f'its `feature_range`.'
        )
    # Networks compute in float32, and half the space is enough for what fits without loss.
    narrow = vectors.astype(np.float32)
    stored = narrow if np.array_equal(narrow, vectors) else vectors
    return Piece(side, place.write(side, '.npy', lambda file: np.save(file, stored)), len(stored), tuple(problems))


def _read_all(
    settings: SparkMeasureConfig, paths: Sequence[str], pool: ThreadPoolExecutor
) -> Iterator[tuple[Optional[np.ndarray], Optional[str]]]:
    """Of each path the pixels, uint8 [h, w, 3], or why there are none; a few are read ahead."""
    from cyclegan_tf.data.decode import BadImage
    from cyclegan_tf.evaluation import two_folders

    items = [archive.Item(path, '', '') for path in paths]
    source = archive.source_of(items, two_folders.read_options(settings.max_image_pixels))
    images = two_folders.Images('', source, None)

    def read(index):
        try:
            return images.read(index), None
        except BadImage as error:
            return None, str(error)

    return map_ahead(read, range(len(paths)), pool, 2 * settings.num_threads)


def sum_up(place: Place, part: int, groups: Iterable[Group]) -> Iterator[Sum]:
    """Writes the moments of the files of each group."""
    for group in groups:
        paths = [place.path(file) for file in group.files]
        total = moments.total(map(moments.load, paths) if group.are_sums else _moments_of(paths))
        yield Sum(group.side, place.write(group.side, '.npz', functools.partial(moments.save, moments=total)))


def _moments_of(paths: Iterable[pathlib.Path]) -> Iterator[moments.Moments]:
    """Those of features, of at least twice as many rows as dimensions each, but the last: it takes less time than file
    after file."""
    gathered = []
    for path in paths:
        gathered.append(np.load(path))
        if sum(map(len, gathered)) >= 2 * gathered[0].shape[1]:
            yield moments.Moments.of(np.concatenate(gathered))
            gathered = []
    if gathered:
        yield moments.Moments.of(np.concatenate(gathered))


def compare_all(features: dict[str, Features], part: int, items: Iterable[tuple[str, slice]]) -> Iterator[np.ndarray]:
    """What metrics.discrepancy_of_rows says of the rows of some files, compared with all of both sides: float64 [any].

    Args:
        features: of both sides.
        part: is not used.
        items: side and files of each.
    """
    for side, files in items:
        (other,) = (one for one in SIDES if one != side)
        rows = np.concatenate(list(features[side].of_files(files)))
        yield metrics.discrepancy_of_some_rows(rows, features[side], features[other])


def compare_subsets(
    features: dict[str, Features], part: int, subsets: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same of subsets of both sides, of each of which the rows are given."""
    for chosen in subsets:
        yield metrics.discrepancy_of_rows(*(features[side].rows(rows) for side, rows in zip(SIDES, chosen)))

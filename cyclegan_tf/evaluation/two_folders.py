"""Measures how far the images of one folder are from those of another, without a run."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import Optional

import numpy as np

from cyclegan_tf.data import decode, sources
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.levels import to_float, to_uint8
from cyclegan_tf.data.pictures import MAX_PIXELS, ReadOptions
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import evaluator, metrics, results, statistics
from cyclegan_tf.evaluation.features import about_features, digest
from cyclegan_tf.evaluation.label_scores import LabelScores, make_palette
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.runtime.hardware import missing_gpu_warning
from cyclegan_tf.settings.evaluation import ALL_MEASURES, LABELS, EvaluateConfig
from cyclegan_tf.settings.fields import split_names
from cyclegan_tf.settings.training import MEASURES_OF_PAIRS

_DEFAULT = 'kid,fid'


def evaluate(settings: EvaluateConfig) -> int:
    """Measures, prints, writes; returns the exit status.

    Raises:
        UserError: a folder has no images, or they do not allow a measure; or, after everything else is done, some
            images could not be used.
    """
    measures = split_names('metrics', settings.metrics or _DEFAULT, ALL_MEASURES)
    of_pairs = [name for name in measures if name in (*MEASURES_OF_PAIRS, LABELS)]
    of_features = [name for name in measures if name not in of_pairs]
    options = read_options(settings.max_image_pixels)
    fakes, reals = (
        Images(place, sources.open_files(place, options, argument), settings.num_test) if place else None
        for argument, place in (('fakes', settings.fakes), ('reals', settings.reals))
    )
    statistics_at = pathlib.Path(settings.statistics).expanduser() if settings.statistics else None
    if statistics_at and not of_features:
        raise UserError(
            f"`statistics` ('{statistics_at}') is for kid and fid, but `metrics` is {','.join(measures) or 'none'}"
            f'; leave one of them out.'
        )
    if reals is None and (of_pairs or not statistics_at.exists()):
        what = (
            f'`metrics` ({",".join(of_pairs)}) needs' if of_pairs else f"`statistics` ('{statistics_at}') is made from"
        )
        raise UserError(f'{what} the images of `reals`, which is not set; set it.')
    if warning := missing_gpu_warning():
        print(warning, file=sys.stderr)
    path = pathlib.Path(settings.results_dir) / 'folders'
    make_folder('results_dir', settings.results_dir, path)
    result = {'images': len(fakes.source), **({} if reals is None else {'reals': len(reals.source)})}
    of_images, of_classes = [], None
    if of_pairs:
        scores = LabelScores(make_palette(settings.palette)) if LABELS in of_pairs else None
        found, of_images = _compare(fakes, reals, of_pairs, scores)
        result.update(found)
        of_classes = scores and scores.of_classes()
    extractor = None
    if of_features:
        extractor = evaluator.make_extractor(settings)
        file = statistics_at and statistics.File(
            statistics_at, extractor, None if reals is None else statistics.describe(reals.source.names)
        )
        # The real images first: what is wrong with their file is told before anything is computed.
        reference = statistics.load_or_make(
            file, file and file.prepare(of_features), lambda: extractor(reals.read_all('features of'))
        )
        vectors = extractor(fakes.read_all('features of'))
        if 'kid' in measures:
            found = reference.kid(vectors)
            result['kid'], result['kid_standard_error'] = found.estimate, found.standard_error
        if 'fid' in measures:
            result['fid'] = reference.fid(vectors)
    pairs = f', {count(result["pairs"], "pair")} of the same name and size' if 'pairs' in result else ''
    others = count(result['reals'], 'real image') if reals else f"the statistics '{statistics_at}'"
    print(f'{count(result["images"], "image")}, compared with {others}{pairs}.')
    for line in results.lines_of(result):
        print(line)
    about = None if extractor is None else about_features(extractor)
    everything = {
        'results': result,
        'features': about,
        'statistics': {str(statistics_at): digest(statistics_at)} if statistics_at else {},
        'classes': of_classes,
        'flags': dataclasses.asdict(settings),
    }
    write_json(path / 'metrics.json', everything)
    results.write_images(path / 'images.csv', of_images)
    print(f'Full results: {path / "metrics.json"}{" and images.csv" if of_images else ""}')
    results.tell_problems(dict.fromkeys([*fakes.problems, *(reals.problems if reals else ())]))
    return 0


def read_options(max_image_pixels: Optional[int]) -> ReadOptions:
    """How images are read; at most with so many pixels, None: with as many as decode reads."""
    return ReadOptions(max_pixels=max_image_pixels or MAX_PIXELS)


class Images:
    """The images of a place, in colours of 8 bits.

    Attributes:
        place: as given.
        source: the files.
        problems: a line for each file that could not be used.
    """

    def __init__(self, place: str, source: sources.Source, most: Optional[int]):
        self.place, self.problems = place, []
        self.source = source if most is None else source.select(range(min(most, len(source))))

    def read(self, index: int) -> np.ndarray:
        """uint8 [h, w, 3]; raises decode.BadImage."""
        return to_uint8(to_float(set_channels(decode.to_array(self.source.picture_with_metadata(index)[0]), 3)))

    def read_all(self, what: str) -> Iterator[np.ndarray]:
        """All that can be used; raises UserError if none can."""
        usable = False
        for index in progress_bar(range(len(self.source)), f'{what} {self.place}'):
            try:
                image = self.read(index)
            except decode.BadImage as error:
                self.problems.append(f'{self.source.label(index)}: {error}')
                continue
            usable = True
            yield image
        if not usable:
            raise UserError(f"no image of '{self.place}' can be used; put others there.")


def _compare(
    fakes: Images, reals: Images, measures: list[str], labels: Optional[LabelScores]
) -> tuple[dict[str, float], list[dict]]:
    """The measures of pairs, which are images of the same name and size; and a row for each pair."""
    counterparts = {name: index for index, name in enumerate(reals.source.names)}
    pairs = [(index, counterparts[name]) for index, name in enumerate(fakes.source.names) if name in counterparts]
    of_pairs, rows = metrics.PairMeasures([name for name in measures if name != LABELS]), []
    for fake, real in progress_bar(pairs, 'pairs'):
        try:
            picture, truth = fakes.read(fake), reals.read(real)
        except decode.BadImage as error:
            fakes.problems.append(f'{fakes.source.label(fake)} or its counterpart: {error}')
            continue
        if picture.shape == truth.shape:
            rows.append({'image': fakes.source.names[fake], **of_pairs.add(picture, truth)})
            if labels is not None:
                rows[-1]['pixel_accuracy'] = labels.add(picture, truth)
    if not len(of_pairs):
        raise UserError(
            f"`metrics` ({','.join(measures)}) needs pairs, but no image of '{fakes.place}' has a counterpart of the "
            f"same name and size in '{reals.place}'; set it to kid,fid."
        )
    if labels is not None and not labels.are_labels:
        raise UserError(
            f"`reals` ('{reals.place}') is no folder of label maps in the colours of `palette`: its pixels are "
            f'{labels.distance:.0f} levels away from the nearest on average; correct either.'
        )
    return {'pairs': len(of_pairs), **of_pairs.summary(), **(labels.summary() if labels else {})}, rows

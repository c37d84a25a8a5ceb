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
from cyclegan_tf.evaluation import evaluator, metrics, results
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.runtime.hardware import missing_gpu_warning
from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.fields import split_names
from cyclegan_tf.settings.training import MEASURES, MEASURES_OF_PAIRS

_DEFAULT = 'kid,fid'


def evaluate(settings: EvaluateConfig) -> int:
    """Measures, prints, writes; returns the exit status.

    Raises:
        UserError: a folder has no images, or they do not allow a measure; or, after everything else is done, some
            images could not be used.
    """
    measures = split_names('metrics', settings.metrics or _DEFAULT, MEASURES)
    options = ReadOptions(max_pixels=settings.max_image_pixels or MAX_PIXELS)
    fakes, reals = (
        Images(place, sources.open_files(place, options), settings.num_test)
        for place in (settings.fakes, settings.reals)
    )
    if warning := missing_gpu_warning():
        print(warning, file=sys.stderr)
    path = pathlib.Path(settings.results_dir) / 'folders'
    make_folder('results_dir', settings.results_dir, path)
    result = {'images': len(fakes.source), 'reals': len(reals.source)}
    if of_pairs := [name for name in measures if name in MEASURES_OF_PAIRS]:
        result.update(_compare(fakes, reals, of_pairs))
    extractor = None
    if {'kid', 'fid'} & set(measures):
        extractor = evaluator.make_extractor(settings)
        vectors = [extractor(images.read_all('features of')) for images in (fakes, reals)]
        if 'kid' in measures:
            found = metrics.kid(*vectors)
            result['kid'], result['kid_standard_error'] = found.estimate, found.standard_error
        if 'fid' in measures:
            result['fid'] = metrics.fid(*vectors)
    pairs = f', {count(result["pairs"], "pair")} of the same name and size' if 'pairs' in result else ''
    print(f'{count(result["images"], "image")}, compared with {count(result["reals"], "real image")}{pairs}.')
    for line in results.lines_of(result):
        print(line)
    about = None if extractor is None else {'extractor': extractor.name, 'dimensions': extractor.dimensions}
    write_json(path / 'metrics.json', {'results': result, 'features': about, 'flags': dataclasses.asdict(settings)})
    print(f'Full results: {path / "metrics.json"}')
    problems = dict.fromkeys([*fakes.problems, *reals.problems])
    for line in problems:
        print(f'Skipped: {line}', file=sys.stderr)
    if problems:
        raise UserError(f'{count(len(problems), "image")} could not be used, see above; all others were.')
    return 0


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


def _compare(fakes: Images, reals: Images, measures: list[str]) -> dict[str, float]:
    """The measures of pairs, which are images of the same name and size."""
    counterparts = {name: index for index, name in enumerate(reals.source.names)}
    pairs = [(index, counterparts[name]) for index, name in enumerate(fakes.source.names) if name in counterparts]
    of_pairs = metrics.PairMeasures(measures)
    for fake, real in progress_bar(pairs, 'pairs'):
        try:
            picture, truth = fakes.read(fake), reals.read(real)
        except decode.BadImage as error:
            fakes.problems.append(f'{fakes.source.label(fake)} or its counterpart: {error}')
            continue
        if picture.shape == truth.shape:
            of_pairs.add(picture, truth)
    if not len(of_pairs):
        raise UserError(
            f"`metrics` ({','.join(measures)}) needs pairs, but no image of '{fakes.place}' has a counterpart of the "
            f"same name and size in '{reals.place}'; set it to kid,fid."
        )
    return {'pairs': len(of_pairs), **of_pairs.summary()}

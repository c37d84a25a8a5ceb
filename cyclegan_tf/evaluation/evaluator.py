"""Evaluates a run's translations: measures on the test images of both domains."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional, Protocol

import numpy as np

from cyclegan_tf.data import decode, pairs, preprocess, sources
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.levels import to_uint8
from cyclegan_tf.data.test_images import make_test_geometry
from cyclegan_tf.data.training_data import pairing, read_options
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import features, label_scores, metrics, statistics
from cyclegan_tf.evaluation.results import Results
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.hardware import images_per_batch
from cyclegan_tf.settings.evaluation import ALL_MEASURES, LABELS
from cyclegan_tf.settings.fields import split_names
from cyclegan_tf.settings.training import MEASURES, MEASURES_OF_PAIRS, Config, FeatureConfig


class Translators(Protocol):
    """The interface of what is evaluated, as cyclegan_tf.translation.translator.Translator implements it."""

    @property
    def translations(self) -> Mapping[str, Translation]:
        """Translations by name, such as 'AtoB'."""

    @property
    def test_errors(self) -> Collection[str]:
        """Which of the errors 'cycle' and 'identity' apply to the model."""

    def translate_floats(self, images: np.ndarray, direction: str, names: Sequence[str] = ()) -> np.ndarray:
        """Float32 [n, h, w, c] in [-1, 1] -> the translated images, likewise; names: see Translator."""


@dataclasses.dataclass(frozen=True)
class TestImages:
    """Test images of both domains, named as in the data set, at the size at which they are evaluated.

    Attributes:
        sources: 'A' and 'B' -> the images.
        geometry: their size.
        channels: 'A' and 'B' -> number of channels.
        pairs_asked: whether images of the same name are pairs: 'yes', 'no' or 'auto'.
    """

    __test__ = False  # not a test, although its name looks like one to pytest

    sources: Mapping[str, sources.Source]
    geometry: Geometry
    channels: Mapping[str, int]
    pairs_asked: str = 'auto'

    @functools.cached_property
    def pairs(self) -> Mapping[str, Mapping[str, int]]:
        """'A' -> name of an image with a counterpart of the same name in B -> the counterpart's index; 'B' likewise."""
        directions = itertools.permutations(self.sources, 2)
        return {domain: pairs.find(self.sources[domain], self.sources[other]) for domain, other in directions}

    @functools.cached_property
    def decision(self) -> pairs.Decision:
        """Whether these are pairs, and why."""
        return pairs.decide(self.pairs_asked, self.sources['A'], self.sources['B'], self.geometry)

    def read(self, domain: str, index: int) -> np.ndarray:
        """Float32 [h, w, c] in [-1, 1].

        Raises:
            BadImage: the image cannot be used.
        """
        return preprocess.read_uncropped(self.sources[domain], index, self.geometry, self.channels[domain])[0]


def open_test_images(
    config: Config,
    phase: str = 'test',
    count: Optional[int] = None,
    load_size: Optional[int] = None,
    argument: str = 'load_size',
) -> TestImages:
    """The images of a phase, at most `count` of each domain, at the size that cyclegan_tf.translate uses.

    Raises:
        UserError: folders are missing, or load_size, the value of `argument`, does not fit this run.
    """
    geometry = make_test_geometry(config, load_size, argument)
    options = read_options(config)
    domains = sources.open_domains(
        config.dataroot,
        phase,
        config.dataset_mode,
        count,
        config.data_dir,
        [options[domain] for domain in 'AB'],
        pairing(config),
    )
    channels = dict(zip(config.domains, config.channels.values()))
    return TestImages(dict(zip('AB', domains)), geometry, channels, config.pairs)


def choose_measures(asked: Optional[str], images: TestImages, argument: str = 'metrics') -> tuple[str, ...]:
    """Chooses measures by what was asked for ('psnr,ssim', 'none', or None) and what the images allow.

    Args:
        asked: the value of the argument.
        images: the images to evaluate on.
        argument: name of the argument, for messages.

    Raises:
        UserError: a measure of pairs was asked for, but there are none; or a measure of features, but a domain has
            fewer than two images.
    """
    if asked is not None:
        chosen = split_names(argument, asked, ALL_MEASURES)
    else:
        chosen = tuple(name for name in MEASURES if (name in MEASURES_OF_PAIRS) == images.decision.are_pairs)
    wrong = [name for name in chosen if name in (*MEASURES_OF_PAIRS, LABELS)]
    if wrong and images.pairs_asked == 'no':
        raise UserError(f'`{argument}` ({", ".join(wrong)}) compares pairs, but `pairs` is no; set either to another.')
    if not images.pairs['A']:
        if wrong:
            raise UserError(
                f'`{argument}` ({", ".join(wrong)}) compares pairs, images of the same name in both domains, and there '
                f'are none; set it to kid,fid, or give images a counterpart of the same name.'
            )
    of_features = [name for name in chosen if name not in wrong]
    for source in images.sources.values() if of_features else ():
        if len(source) < 2:
            raise UserError(
                f'`{argument}` ({", ".join(of_features)}) compares distributions, and {source.where} holds 1 image; '
                f'add images, or set it to none.'
            )
    return chosen


def describe_pairs(images: TestImages, measures: Sequence[str], asked: Optional[str]) -> list[str]:
    """Says in a line whether the images are measured as pairs, and why; nothing if there is nothing to say.

    Args:
        images, measures: what is measured.
        asked: the measures that were asked for; None: `measures` were chosen by whether these are pairs.
    """
    of_pairs = set(measures) & {*MEASURES_OF_PAIRS, LABELS}
    if asked is not None and not of_pairs:
        return []
    decision = images.decision
    if not decision.reason:
        return []
    if not decision.are_pairs and of_pairs:
        return [f'Images of the same name are compared as pairs, as asked for, although {decision.reason}.']
    return [f'{decision}.']


def make_extractor(settings: FeatureConfig, batch_size: int = 32) -> features.Extractor:
    """The feature extractor for some settings.

    Raises:
        UserError: a value cannot be parsed, or features.make_extractor refuses it.
    """
    sides = _numbers('feature_size', settings.feature_size, 'x', int, (1, 2), "a side or 'HEIGHTxWIDTH'")
    levels = _numbers('feature_range', settings.feature_range, ',', float, (2,), "two numbers, such as '-1,1'")
    size = sides[0] if sides and len(sides) == 1 else sides
    return features.make_extractor(
        settings.feature_extractor,
        size,
        levels,
        settings.feature_output,
        batch_size,
        settings.feature_resizing,
        settings.feature_weights,
    )


def _numbers(name, value, separator, kind, counts, expected) -> Optional[tuple]:
    """'1,2' -> (1, 2)."""
    if value is None:
        return None
    try:
        numbers = tuple(kind(part) for part in value.split(separator))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts:
        raise UserError(f"`{name}` ('{value}') is not {expected}; correct it.")
    return numbers


class Evaluation:
    """Evaluates translators on test images, any number of times; what depends only on the images is computed once.

    Args:
        images: the images to evaluate on.
        measures: names among psnr, ssim, edges, labels, kid and fid; cycle and identity errors are added where they
            apply.
        extractor: feature extractor, for kid and fid.
        argument: name of the argument that sets the measures, for messages.
        batch_size: maximum number of images, all of one size, that are translated at once; None: as suits the device.
        show_progress: show progress bars on the terminal.
        palette: colours of label maps, for labels.
        statistics_at: 'A' and 'B' -> the file of what kid and fid need to know of that domain's images, which is made
            if it does not exist; for any of them.
        phase: of the images, for these files.

    Raises:
        UserError: such a file cannot be read or made, or is of other images or another extractor.

    Attributes:
        problems: a line for each image that could not be used.
        of_images: translation's name -> image's name -> measure -> value, of the latest call.
    """

    def __init__(
        self,
        images: TestImages,
        measures: Sequence[str],
        extractor: Optional[features.Extractor],
        argument: str = 'metrics',
        batch_size: Optional[int] = None,
        show_progress: bool = False,
        palette: Optional[label_scores.Palette] = None,
        statistics_at: Optional[Mapping[str, pathlib.Path]] = None,
        phase: str = 'test',
    ):
        self._images, self._measures, self._extractor = images, measures, extractor
        self._argument, self._batch_size, self._show_progress = argument, batch_size, show_progress
        self._problems: dict[str, None] = {}
        self._palette = palette
        self._real_features: dict[str, np.ndarray] = {}
        self._files = {
            domain: statistics.File(path, extractor, self._describe(domain, phase))
            for domain, path in (statistics_at or {}).items()
        }
        loaded = {domain: file.prepare(measures) for domain, file in self._files.items()}
        self._references = {domain: found for domain, found in loaded.items() if found is not None}
        self.of_images: dict[str, dict[str, dict[str, float]]] = {}

    @property
    def problems(self) -> Sequence[str]:
        """A line for each image that could not be used."""
        return list(self._problems)

    def __call__(self, translators: Translators) -> Results:
        """Evaluates every translation.

        Returns:
            translation's name -> measure -> value. psnr, in dB, and ssim are means over pairs; edges is the mean edge
            strength of translations divided by that of their counterparts. pixel_accuracy, class_accuracy and class_iou
            are the scores of label maps, where the target domain has such. kid, with its kid_standard_error, and fid
            compare the translated images with the images of the target domain. All these are computed on levels of 0 to
            255. images and pairs are numbers of images. If the errors apply to the model, in units of [-1, 1] as in the
            losses: cycle is the mean absolute error of an image that is translated to the other domain and back,
            identity that of a translated image of the target domain.

        Raises:
            UserError: no image can be used, or too few; images are smaller than the window of SSIM; or label maps are
                to be scored, and no domain has any in the palette's colours.
        """
        self.of_images = {one.name: collections.defaultdict(dict) for one in translators.translations.values()}
        results = {one.name: self._measure(translators, one) for one in translators.translations.values()}
        if LABELS in self._measures and not any('pixel_accuracy' in result for result in results.values()):
            raise UserError(
                f'`{self._argument}` ({LABELS}) needs label maps, but no domain has images in the colours of `palette` '
                f"('{self._palette.name}'); correct either."
            )
        return results

    def untranslated(self, translations: Mapping[str, Translation]) -> Results:
        """The same measures for untranslated images, without cycle and identity; only for translations between domains
        with equal numbers of channels."""
        results = {}
        for one in translations.values():
            if one.channels[0] != one.channels[1]:
                continue
            collected, pair_measures = collections.defaultdict(list), self._pair_measures()
            for names, real in self._batches(one.source, 'untranslated'):
                collected['images'] += names
                self._compare(one, names, to_uint8(real), *pair_measures)
            results[one.name] = self._summary(one, collected, *pair_measures, functools.partial(self._real, one.source))
        return results

    def _measure(self, translators: Translators, translation: Translation) -> dict[str, float]:
        domain, target, direction = translation.source, translation.target, translation.name
        inverse = translation.inverse if translation.inverse in translators.translations else None
        collected, pair_measures = collections.defaultdict(list), self._pair_measures()
        of_images = self.of_images[direction]

        def fakes() -> Iterator[np.ndarray]:
            """Translates images, measures them, and yields the results for the extraction of features."""
            for names, real in self._batches(domain, direction):
                fake = translators.translate_floats(real, direction, names)
                if inverse is not None and 'cycle' in translators.test_errors:
                    rec = translators.translate_floats(fake, inverse, names)
                    errors = np.abs(rec - real).mean(axis=(1, 2, 3)).tolist()
                    collected['cycle'] += errors
                    for name, error in zip(names, errors):
                        of_images[name]['cycle'] = error
                pictures = to_uint8(fake)
                collected['images'] += names
                for name, values in self._compare(translation, names, pictures, *pair_measures).items():
                    of_images[name].update(values)
                yield from pictures

        if self._extractor is None:
            collections.deque(fakes(), maxlen=0)
            vectors = None
        else:
            vectors = self._extractor(fakes())
        labels = pair_measures[1]
        if labels is not None and not labels.are_labels:
            for values in of_images.values():
                values.pop('pixel_accuracy', None)
        if 'identity' in translators.test_errors and translation.channels[0] == translation.channels[1]:
            for names, real in self._batches(target, f'{direction}, identity'):
                same = translators.translate_floats(real, direction, names)
                collected['identity'] += np.abs(same - real).mean(axis=(1, 2, 3)).tolist()
        return self._summary(translation, collected, *pair_measures, lambda: vectors)

    def _pair_measures(self) -> tuple[metrics.PairMeasures, Optional[label_scores.LabelScores]]:
        of_pairs = metrics.PairMeasures([name for name in self._measures if name in MEASURES_OF_PAIRS])
        return of_pairs, label_scores.LabelScores(self._palette) if LABELS in self._measures else None

    def _compare(
        self,
        translation: Translation,
        names: Sequence[str],
        pictures: np.ndarray,
        of_pairs: metrics.PairMeasures,
        labels: Optional[label_scores.LabelScores],
    ) -> dict[str, dict[str, float]]:
        """Adds the measures of pairs for uint8 [n, h, w, c], which were made from images with these names.

        Returns:
            Name -> measure -> value, of the images with a counterpart.
        """
        results = {}
        for name, picture in zip(names, pictures):
            index = self._images.pairs[translation.source].get(name)
            if not (of_pairs.measures or labels) or index is None:
                continue
            try:
                truth = to_uint8(self._images.read(translation.target, index))
            except decode.BadImage:
                continue  # reported where its own domain is read
            if truth.shape != picture.shape:
                continue
            results[name] = of_pairs.add(picture, truth)
            if labels is not None:
                results[name]['pixel_accuracy'] = labels.add(*(set_channels(image, 3) for image in (picture, truth)))
        return results

    def _summary(
        self,
        translation: Translation,
        collected: Mapping[str, list],
        of_pairs: metrics.PairMeasures,
        labels: Optional[label_scores.LabelScores],
        vectors,
    ) -> dict[str, float]:
        """The measures of pairs, means of the collected values, and the measures of the features `vectors` returns."""
        if (of_pairs.measures or labels) and not len(of_pairs):
            where, asked = (
                self._images.sources[translation.source].where,
                [*of_pairs.measures, *[LABELS] * bool(labels)],
            )
            raise UserError(
                f'`{self._argument}` ({", ".join(asked)}) needs pairs of the same size, but no image of '
                f'{where} has a counterpart of the same size; set it to kid,fid.'
            )
        result = {'images': len(collected['images'])}
        if len(of_pairs):
            result['pairs'] = len(of_pairs)
        result.update(of_pairs.summary())
        if labels is not None and labels.are_labels:
            result.update(labels.summary())
        for name in ('cycle', 'identity'):
            if collected.get(name):
                result[name] = float(np.mean(collected[name]))
        if 'kid' in self._measures:
            estimate = self._reference(translation.target).kid(vectors())
            result['kid'], result['kid_standard_error'] = estimate.estimate, estimate.standard_error
        if 'fid' in self._measures:
            result['fid'] = self._reference(translation.target).fid(vectors())
        return result

    def _reference(self, domain: str) -> statistics.Statistics:
        """What kid and fid need to know of a domain's own images, from its file or from them."""
        if domain not in self._references:
            file = self._files.get(domain)
            self._references[domain] = statistics.load_or_make(file, None, lambda: self._real(domain))
        return self._references[domain]

    def _describe(self, domain: str, phase: str) -> dict:
        names, geometry = self._images.sources[domain].names, self._images.geometry
        return statistics.describe(names, phase=phase, size=str(dataclasses.asdict(geometry)))

    def _real(self, domain: str) -> np.ndarray:
        """Features of a domain's own images, [n, d]."""
        if domain not in self._real_features:
            batches = self._batches(domain, f'features of {domain}')
            self._real_features[domain] = self._extractor(picture for _, real in batches for picture in to_uint8(real))
        return self._real_features[domain]

    def _batches(self, domain: str, what: str) -> Iterator[tuple[list[str], np.ndarray]]:
        """Batches of consecutive images of one size: names, and float32 [n, h, w, c] in [-1, 1].

        Raises:
            UserError: no image can be used.
        """
        source, names, images, usable = self._images.sources[domain], [], [], False
        for index in progress_bar(range(len(source)), what, shown=self._show_progress):
            try:
                image = self._images.read(domain, index)
            except decode.BadImage as error:
                self._problems[f'{source.label(index)}: {error}'] = None
                continue
            usable = True
            most = self._batch_size or images_per_batch(image.shape[0] * image.shape[1])
            if images and (image.shape != images[0].shape or len(images) >= most):
                yield names, np.stack(images)
                names, images = [], []
            names.append(source.names[index])
            images.append(image)
        if images:
            yield names, np.stack(images)
        if not usable:
            raise UserError(
                f'no image of {source.where} can be used; put others there:\n  ' + '\n  '.join(self.problems)
            )

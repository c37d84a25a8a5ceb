"""Translates a part of the data set in every direction, and writes pictures, a results page and measures."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Optional, Protocol

import numpy as np

from cyclegan_tf.data import decode, pairs, preprocess, profiles, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.levels import to_uint8
from cyclegan_tf.data.pictures import Metadata
from cyclegan_tf.data.test_images import make_test_geometry
from cyclegan_tf.data.training_data import pairing, read_options
from cyclegan_tf.errors import UserError
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig
from cyclegan_tf.translation import files, gallery
from cyclegan_tf.translation.output import Output, write_png, write_tiff
from cyclegan_tf.translation.translator import Translator

# Measure of pairs -> its name on the page and on the terminal, and its format.
_SHOWN = {'psnr': ('PSNR', '{:.2f} dB'), 'ssim': ('SSIM', '{:.3f}'), 'edges': ('edge strength', '{:.2f}')}
_ABOUT_EDGES = (
    'Edge strength is relative to the true counterpart: 1 is right, less means blur or weak contrast, more means '
    'noise, patterns or strong contrast.'
)


class PairMeasures(Protocol):
    """The measures of pairs, as cyclegan_tf.evaluation.metrics.PairMeasures implements them."""

    def __len__(self) -> int:
        """The number of pairs."""

    def add(self, picture: np.ndarray, truth: np.ndarray) -> Mapping[str, float]:
        """Measures a translation and its true counterpart, uint8 [h, w, c]: measure -> value."""

    def summary(self) -> Mapping[str, float]:
        """The measures of all pairs."""


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The images to translate, by the data set's names of the domains.

    Attributes:
        sources: 'A' and 'B', or only one of them -> the images.
        channels: 'A' and 'B' -> number of channels.
        outputs: 'A' and 'B' -> how images of that domain are stored.
        geometry: the size at which they are translated.
        compared: whether images of the same name in both domains are compared, as pairs.
    """

    __test__ = False  # not a test, although its name looks like one to pytest

    sources: Mapping[str, sources.Source]
    channels: Mapping[str, int]
    outputs: Mapping[str, Output]
    geometry: Geometry
    compared: bool


@dataclasses.dataclass
class Translated:
    """The results for one direction.

    Attributes:
        measures: the measures of pairs.
        untranslated: those of the same images untranslated, if they have as many channels as their counterparts.
        rows: rows of the page, one for each image.
        problems: a line for each image that cannot be used.
        without_ssim: number of pairs that are smaller than the window of SSIM.
    """

    measures: PairMeasures
    untranslated: PairMeasures
    rows: list[gallery.Row] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    without_ssim: int = 0

    def facts(self) -> dict[str, str]:
        """Counts and measures for the page, as text."""
        facts = {'images': f'{len(self.rows):,}'}
        if len(self.measures):
            facts['pairs'] = f'{len(self.measures):,}'
        before = _texts(self.untranslated.summary())
        for name, text in _texts(self.measures.summary()).items():
            facts[name] = text
            if name in before:
                facts[f'{name}, untranslated'] = before[name]
        return facts


def translate_test_set(
    settings: TranslateConfig, config: Config, translator: Translator, make_measures: Callable[[], PairMeasures]
) -> files.Outcome:
    """Translates a part of the data set; writes the pictures, the page and metrics.json, and prints a summary.

    Args:
        settings: what to translate.
        config: the run's settings.
        translator: the run's translator.
        make_measures: makes the measures of pairs, without any pair so far; images smaller than the window of SSIM have
            no ssim.

    Raises:
        UserError: folders are missing; the run does not take the size or the direction; or the results cannot be stored
            as asked for.
    """
    wanted = translator.choose(settings.direction)
    dataroot = settings.dataroot or config.dataroot
    images = open_test_set(settings, config, wanted)
    results = pathlib.Path(settings.results_dir) / settings.name / f'{settings.phase}_{settings.epoch}'
    make_folder('results_dir', settings.results_dir, results / 'images')
    _clear(results)
    translated = {one.name: translate_domain(translator, one, images, results, make_measures) for one in wanted}

    after = {name: one.measures.summary() for name, one in translated.items() if len(one.measures)}
    before = {name: one.untranslated.summary() for name, one in translated.items() if len(one.untranslated)}
    measured = {}
    for measure in _SHOWN:
        for key, summaries in ((measure, after), (f'{measure}_untranslated', before)):
            measured[key] = {name: values[measure] for name, values in summaries.items() if measure in values}
    measured.update(step=translator.step, test_time=translator.test_time)
    about_images = {'size': images.geometry.crop_size} if config.preprocess == 'resize_and_crop' else {}
    write_json(results / 'metrics.json', {**measured, **about_images, 'dataroot': dataroot})
    sections = [
        gallery.Section(
            f'{one.source} to {one.target}',
            f'{len(images.sources[one.source])} images of {images.sources[one.source].where}.',
            translated[one.name].rows,
            translated[one.name].facts(),
        )
        for one in wanted
    ]
    title = f'{settings.name}: {settings.phase} images, {settings.epoch}'
    how = f' Translated with {translator.test_time}.' if translator.test_time else ''
    edges = f' {_ABOUT_EDGES}' if after else ''
    about = f'{config.netG}, step {translator.step}, preprocess {config.preprocess}.{how}{edges}'
    gallery.write_page(results / 'index.html', title, about, sections, {'metrics.json': 'metrics.json'})
    for direction, values in after.items():
        print(f'{direction}: {_words(values, before.get(direction))}.')
        if small := translated[direction].without_ssim:
            print(f'{direction}: SSIM is left out for {count(small, "pair")} smaller than its window.')
    if after:
        print(_ABOUT_EDGES)
    print(f'Results page: {results / "index.html"}')
    problems = [line for one in translated.values() for line in one.problems]
    return files.Outcome(sum(len(one.rows) for one in translated.values()), problems)


def open_test_set(settings: TranslateConfig, config: Config, wanted: Sequence[Translation]) -> TestSet:
    """The images of a phase; prints whether images of the same name are compared as pairs, and why."""
    geometry = make_test_geometry(config, settings.load_size)
    mode = settings.dataset_mode or config.dataset_mode
    if mode == 'single' and len(wanted) > 1:
        ways = ' or '.join(one.name for one in wanted)
        raise UserError(f'`dataset_mode` (single) needs a `direction`; set --direction to {ways}.')
    dataroot, data_dir = settings.dataroot or config.dataroot, settings.data_dir or config.data_dir
    if mode != 'paired' and config.input_folders is not None:
        raise UserError(
            f'`dataset_mode` ({mode}) cannot be used with this run, which stacks the images of several folders '
            f'(input_folders {config.input_folders}); leave it out, or give them as --input=FOLDER,FOLDER.'
        )
    names = wanted[0].source if mode == 'single' else 'AB'
    channels = dict(zip(config.domains, config.channels.values()))
    options = read_options(config)
    for domain, of_domain in options.items():
        options[domain] = dataclasses.replace(
            of_domain,
            max_pixels=settings.max_image_pixels or of_domain.max_pixels,
            kept_profile=profiles.kept(settings.color_profile, channels.values(), of_domain.value_range),
        )
    opened = sources.open_domains(
        dataroot,
        settings.phase,
        mode,
        settings.num_test,
        data_dir,
        [options[domain] for domain in names],
        pairing(config),
    )
    for source in opened:
        for line in source.notes:
            print(line, file=sys.stderr)
    decision = pairs.decide(settings.pairs, *opened, geometry) if len(opened) == 2 else None
    if decision is not None and decision.reason:
        print(f'{decision}.')
    ranges = dict(zip(config.domains, config.value_ranges.values()))
    outputs = {domain: Output(settings.output_depth, settings.output_format, ranges[domain]) for domain in 'AB'}
    are_pairs = decision is not None and decision.are_pairs
    return TestSet(dict(zip(names, opened)), channels, outputs, geometry, are_pairs)


def translate_domain(
    translator: Translator,
    translation: Translation,
    images: TestSet,
    results: pathlib.Path,
    make_measures: Callable[[], PairMeasures],
) -> Translated:
    """Translates the images of one domain, and back again if the run can, and writes the pictures.

    Args:
        translator: the run's translator.
        translation: one of translator.translations.
        images: the images to translate.
        results: folder of the page; pictures are written into its subfolder images.
        make_measures: as of translate_test_set.
    """
    domain, target, direction = translation.source, translation.target, translation.name
    source, partner = images.sources[domain], images.sources.get(target)
    counterparts = pairs.find(source, partner) if partner is not None and images.compared else {}
    done = Translated(make_measures(), make_measures())
    for index, name in enumerate(progress_bar(source.names, direction)):
        try:
            real, metadata = preprocess.read_uncropped(source, index, images.geometry, images.channels[domain])
        except decode.BadImage as error:
            done.problems.append(f'{source.label(index)}: {error}')
            continue
        fake = translator.translate_floats(real[None], direction, [name])
        pictures = {f'real_{domain}': (real, metadata), f'fake_{target}': (fake[0], metadata)}
        if translation.inverse in translator.translations:
            pictures[f'rec_{domain}'] = translator.translate_floats(fake, translation.inverse, [name])[0], metadata
        truth = _read_counterpart(partner, counterparts.get(name), images.geometry, images.channels[target])
        note, measured = '', {}
        if truth is not None and truth[0].shape[:2] == real.shape[:2]:
            pictures[f'true_{target}'] = truth
        try:
            shown = {
                label: _save(*picture, images.outputs[label[-1]], results, f'{name}_{label}')
                for label, picture in pictures.items()
            }
        except OSError as error:
            done.problems.append(files.problem_of_name(error, source.label(index), results / 'images' / name))
            continue
        if f'true_{target}' in pictures:
            # Measured on 8-bit levels, as in cyclegan_tf.evaluate (which ignores profiles), whatever depth is written.
            real, fake, truth = (to_uint8(image) for image in (real, fake[0], truth[0]))
            measured = done.measures.add(fake, truth)
            done.without_ssim += 'ssim' not in measured
            note = _words(measured, done.untranslated.add(real, truth) if real.shape == truth.shape else None)
        done.rows.append(gallery.Row(name, shown, note, {_SHOWN[key][0]: value for key, value in measured.items()}))
    return done


def _texts(measured: Mapping[str, float]) -> dict[str, str]:
    """Values by measure as texts by the measure's name: {'psnr': 24.7} -> {'PSNR': '24.70 dB'}."""
    return {name: form.format(measured[key]) for key, (name, form) in _SHOWN.items() if key in measured}


def _words(measured: Mapping[str, float], untranslated: Optional[Mapping[str, float]] = None) -> str:
    """Measures of translations, and of the same images untranslated if there are, in words."""
    words = ', '.join(f'{name} {text}' for name, text in _texts(measured).items())
    return f'{words}; untranslated: {_words(untranslated)}' if untranslated else words


def _read_counterpart(
    partner: Optional[sources.Source], index: Optional[int], geometry: Geometry, channels: int
) -> Optional[tuple[np.ndarray, Metadata]]:
    """The counterpart, as preprocess.read_uncropped returns it; None if there is none."""
    if index is None:
        return None
    try:
        return preprocess.read_uncropped(partner, index, geometry, channels)
    except decode.BadImage:
        return None  # reported with the images of its own domain


def _clear(results: pathlib.Path) -> None:
    """Deletes the page of an earlier translation, and its pictures, which the new page would not show."""
    for name in ('index.html', 'metrics.json'):
        (results / name).unlink(missing_ok=True)
    for ending in ('png', 'tif'):
        for path in (results / 'images').rglob(f'*.{ending}'):
            path.unlink()


def _save(picture: np.ndarray, metadata: Metadata, output: Output, results: pathlib.Path, name: str) -> gallery.Picture:
    """Writes images/NAME.png from float [h, w, c] in [-1, 1], atomically; and images/NAME.tif where that says more.

    Browsers show neither TIFFs nor more than three channels, and a range of values would be dark or black in them. Then
    the PNG is one of 8 bits with the first three channels.
    """
    height, width, channels = picture.shape
    if profiles.color_space(metadata.icc_profile) != profiles.of_channels(channels):
        metadata = dataclasses.replace(metadata, icc_profile=None)
    path, dtype = results / 'images' / f'{name}.png', output.dtype(metadata.dtype)
    data = None
    if output.value_range is None and output.is_png(dtype, channels, not metadata.has_bands):
        write_png(path, output.values(picture, dtype), metadata)
    else:
        data = path.with_name(f'{path.name[:-4]}.tif')
        metadata = dataclasses.replace(metadata, has_alpha=channels in (2, 4) and not metadata.has_bands)
        write_tiff(data, output.values(picture, dtype), metadata)
        write_png(path, to_uint8(picture[..., : 3 if channels >= 3 else 1]), metadata)
    shown, stored = (place and place.relative_to(results).as_posix() for place in (path, data))
    return gallery.Picture(shown, width, height, stored)

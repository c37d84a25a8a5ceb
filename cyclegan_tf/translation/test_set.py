"""Translates a part of the data set in every direction, and writes pictures, a results page and measures."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

import numpy as np

from cyclegan_tf.data import decode, pairs, preprocess, profiles, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.levels import to_uint8
from cyclegan_tf.data.pictures import Metadata
from cyclegan_tf.data.test_images import make_test_geometry
from cyclegan_tf.data.training_data import pairing, read_options
from cyclegan_tf.errors import UserError
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig
from cyclegan_tf.translation import files, gallery
from cyclegan_tf.translation.output import Output, write_png, write_tiff
from cyclegan_tf.translation.translator import Translator

Psnr = Callable[[np.ndarray, np.ndarray], float]
"""Two images of uint8 [h, w, c] -> dB."""


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
        rows: rows of the page, one for each image.
        problems: a line for each image that cannot be used.
        psnr: PSNR of the translations of pairs, in dB.
        untranslated: PSNR of the same images untranslated, if they have as many channels as their counterparts.
    """

    rows: list[gallery.Row] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    psnr: list[float] = dataclasses.field(default_factory=list)
    untranslated: list[float] = dataclasses.field(default_factory=list)

    def facts(self) -> dict[str, str]:
        """Counts and means for the page, as text."""
        facts = {'images': f'{len(self.rows):,}'}
        if self.psnr:
            facts['pairs'] = f'{len(self.psnr):,}'
            facts['mean PSNR'] = f'{np.mean(self.psnr):.2f} dB'
        if self.untranslated:
            facts['untranslated'] = f'{np.mean(self.untranslated):.2f} dB'
        return facts


def translate_test_set(settings: TranslateConfig, config: Config, translator: Translator, psnr: Psnr) -> files.Outcome:
    """Translates a part of the data set; writes the pictures, the page and metrics.json, and prints a summary.

    Args:
        settings: what to translate.
        config: the run's settings.
        translator: the run's translator.
        psnr: evaluation.metrics.psnr.

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
    translated = {one.name: translate_domain(translator, one, images, results, psnr) for one in wanted}

    psnr_of = {name: float(np.mean(one.psnr)) for name, one in translated.items() if one.psnr}
    before = {name: float(np.mean(one.untranslated)) for name, one in translated.items() if one.untranslated}
    about_images = {'size': images.geometry.crop_size} if config.preprocess == 'resize_and_crop' else {}
    measured = {
        'psnr': psnr_of, 'psnr_untranslated': before, 'step': translator.step, 'test_time': translator.test_time
    }  # fmt: skip
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
    about = f'{config.netG}, step {translator.step}, preprocess {config.preprocess}.{how}'
    gallery.write_page(results / 'index.html', title, about, sections, 'PSNR', {'metrics.json': 'metrics.json'})
    for direction, value in psnr_of.items():
        print(f'{direction}: PSNR {value:.2f} dB{_rise(before.get(direction), value)}')
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
    translator: Translator, translation: Translation, images: TestSet, results: pathlib.Path, psnr: Psnr
) -> Translated:
    """Translates the images of one domain, and back again if the run can, and writes the pictures.

    Args:
        translator: the run's translator.
        translation: one of translator.translations.
        images: the images to translate.
        results: folder of the page; pictures are written into its subfolder images.
        psnr: evaluation.metrics.psnr.
    """
    domain, target, direction = translation.source, translation.target, translation.name
    source, partner = images.sources[domain], images.sources.get(target)
    counterparts = pairs.find(source, partner) if partner is not None and images.compared else {}
    done = Translated()
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
        note, score = '', None
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
            score = psnr(fake, truth)
            done.psnr.append(score)
            note = f'PSNR {score:.1f} dB'
            if real.shape == truth.shape:
                done.untranslated.append(psnr(real, truth))
                note += f', untranslated {done.untranslated[-1]:.1f} dB'
        done.rows.append(gallery.Row(name, shown, note, score))
    return done


def _rise(before: Optional[float], after: float) -> str:
    """How the translation has changed the PSNR, as text."""
    if before is None:
        return ''
    change = after - before
    if not np.isfinite(change):
        return f', untranslated {before:.2f} dB'
    return f', untranslated {before:.2f} dB, a {"rise" if change >= 0 else "fall"} of {abs(change):.2f} dB'


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

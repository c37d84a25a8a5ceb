"""Translates images, or a run's test set both ways: python -m cyclegan_tf.translate --name=RUN [--input=FILES]."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Optional

import numpy as np
from tqdm import tqdm

from cyclegan_tf import checkpoints, file_translation, gallery, metrics, options
from cyclegan_tf.config import Config, TranslateConfig
from cyclegan_tf.data import decode, preprocess, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.errors import UserError
from cyclegan_tf.translator import DIRECTIONS, Translator

_OTHER = {'A': 'B', 'B': 'A'}


def main(settings: TranslateConfig) -> int:
    """Translates; returns the exit status."""
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = options.load_config(run_directory)
    translator = Translator(config, checkpoints.find(run_directory, settings.epoch), settings.max_pixels)
    problems = (translate_input if settings.input else translate_phase)(settings, config, translator)
    for line in problems:
        print(f'Left aside: {line}', file=sys.stderr)
    if problems:
        raise UserError(f'{len(problems)} images could not be used and were left aside; all others are done.')
    return 0


def translate_input(settings: TranslateConfig, config: Config, translator: Translator) -> Sequence[str]:
    """Translates the files of --input; returns a line for each that cannot be used."""
    source = sources.open_files(settings.input)
    if settings.num_test is not None:
        source = source.select(range(min(settings.num_test, len(source))))
    output = pathlib.Path(
        settings.output or pathlib.Path(settings.results_dir) / settings.name / f'files_{settings.epoch}'
    )
    directions = DIRECTIONS if settings.direction == 'both' else (settings.direction or 'AtoB',)
    outcome = file_translation.translate_files(
        translator,
        source,
        directions,
        output,
        settings.resized,
        settings.output_depth,
        settings.batch_size,
        settings.num_threads,
    )
    print(f'{outcome.written} pictures are in {output}.')
    return outcome.problems


def translate_phase(settings: TranslateConfig, config: Config, translator: Translator) -> Sequence[str]:
    """Translates a part of the data set; writes the pictures, the page and metrics.json.

    Returns:
        A line for each image that cannot be used.
    """
    if settings.load_size is not None and settings.load_size % translator.multiple:
        raise UserError(
            f'`load_size` ({settings.load_size}) is no multiple of {translator.multiple}, which netG {config.netG} '
            f'needs; set it to one.'
        )
    geometry = test_geometry(config, settings.load_size)
    dataroot = settings.dataroot or config.dataroot
    mode = settings.dataset_mode or config.dataset_mode
    data_dir = settings.data_dir or config.data_dir
    found = sources.open_domains(dataroot, settings.phase, mode, settings.num_test, data_dir)
    domains = dict(zip(settings.direction[0] if mode == 'single' else 'AB', found))
    channels = {domain: translator.channels(f'{domain}to{_OTHER[domain]}')[0] for domain in 'AB'}

    results = pathlib.Path(settings.results_dir) / settings.name / f'{settings.phase}_{settings.epoch}'
    (results / 'images').mkdir(parents=True, exist_ok=True)
    _clear(results)
    sections, problems, measured = [], [], {'psnr': {}, 'psnr_untranslated': {}}
    for domain, source in domains.items():
        direction, backwards = f'{domain}to{_OTHER[domain]}', f'{_OTHER[domain]}to{domain}'
        if settings.direction not in (None, 'both', direction):
            continue
        partner = domains.get(_OTHER[domain])
        rows, psnr, untranslated = [], [], []
        for index, name in enumerate(tqdm(source.names, direction, leave=False, disable=None)):
            try:
                real = preprocess.read_uncropped(source, index, geometry, channels[domain])
            except decode.BadImage as error:
                problems.append(f'{source.label(index)}: {error}')
                continue
            fake = translator.translate_floats(real[None], direction)
            rec = preprocess.to_uint8(translator.translate_floats(fake, backwards))[0]
            real, fake = preprocess.to_uint8(real), preprocess.to_uint8(fake)[0]
            truth = _counterpart(partner, name, geometry, channels[_OTHER[domain]])
            pictures = {f'real_{domain}': real, f'fake_{_OTHER[domain]}': fake, f'rec_{domain}': rec}
            captions = {label: _save(picture, results, f'{name}_{label}') for label, picture in pictures.items()}
            note = ''
            if truth is not None and truth.shape[:2] == fake.shape[:2]:
                captions[f'true {_OTHER[domain]}'] = _save(truth, results, f'{name}_true_{_OTHER[domain]}')
                psnr.append(metrics.psnr(fake, truth))
                note = f'PSNR {psnr[-1]:.1f} dB'
                if real.shape == truth.shape:
                    untranslated.append(metrics.psnr(real, truth))
                    note += f', untranslated {untranslated[-1]:.1f} dB'
            rows.append(gallery.Row(name, captions, note))
        introduction = f'{len(source)} images of {source.where}.'
        if psnr:
            measured['psnr'][direction] = float(np.mean(psnr))
            introduction += f' {len(psnr)} have a known counterpart: PSNR {np.mean(psnr):.2f} dB'
        if untranslated:
            measured['psnr_untranslated'][direction] = float(np.mean(untranslated))
            introduction += f', {np.mean(untranslated):.2f} dB before translation'
        sections.append(gallery.Section(f'{domain} to {_OTHER[domain]}', introduction.rstrip('.') + '.', rows))

    page = results / 'index.html'
    about = f'{config.netG}, step {translator.step}, preprocess {config.preprocess}.'
    title = f'{settings.name}: {settings.phase} images, {settings.epoch}'
    square = config.preprocess == 'resize_and_crop'
    gallery.write_page(page, title, about, sections, geometry.uncropped(1, 1) if square else None)
    about_images = {'size': geometry.crop_size} if square else {}
    _write_metrics(
        results / 'metrics.json', {**measured, 'step': translator.step, **about_images, 'dataroot': dataroot}
    )
    for direction, value in measured['psnr'].items():
        before = measured['psnr_untranslated'].get(direction)
        rise = '' if before is None else f', untranslated {before:.2f} dB, a rise of {value - before:.2f} dB'
        print(f'{direction}: PSNR {value:.2f} dB{rise}')
    print(f'Results page: {page}')
    return problems


def test_geometry(config: Config, load_size: Optional[int]) -> Geometry:
    """At which size images are translated: as the run's preprocess gives it, without a crop."""
    geometry = Geometry(config.preprocess, config.load_size, config.crop_size, config.side_multiple, config.least_side)
    if load_size is None:
        return geometry
    # resize_and_crop takes the size from crop_size, as the reference's test program; the others from load_size.
    return dataclasses.replace(geometry, load_size=load_size, crop_size=load_size)


def _counterpart(
    partner: Optional[sources.Source], name: str, geometry: Geometry, channels: int
) -> Optional[np.ndarray]:
    if partner is None or name not in partner.names:
        return None
    try:
        return preprocess.to_uint8(preprocess.read_uncropped(partner, partner.names.index(name), geometry, channels))
    except decode.BadImage:
        return None  # it is named among its own domain's


def _clear(results: pathlib.Path) -> None:
    """Takes away the pictures of an earlier translation, which the page would no longer show."""
    for path in (results / 'images').rglob('*.png'):
        path.unlink()


def _save(picture: np.ndarray, results: pathlib.Path, name: str) -> str:
    """Writes images/NAME.png, whole or not at all; returns its path relative to the results."""
    path = results / 'images' / f'{name}.png'
    file_translation.write_png(path, picture)
    return path.relative_to(results).as_posix()


def _write_metrics(path: pathlib.Path, values: dict) -> None:
    partial = path.with_suffix('.part')
    partial.write_text(json.dumps(values, indent=2) + '\n')
    os.replace(partial, path)


if __name__ == '__main__':
    options.run_program('cyclegan_tf.translate', lambda argv: options.parse(TranslateConfig, argv), main)

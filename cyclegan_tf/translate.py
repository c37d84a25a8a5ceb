"""Translates a run's test images both ways: python -m cyclegan_tf.translate --name=RUN."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Optional

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from cyclegan_tf import checkpoints, gallery, metrics, options
from cyclegan_tf.config import Config, TranslateConfig
from cyclegan_tf.data import decode, preprocess, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS

_OTHER = {'A': 'B', 'B': 'A'}


def main(settings: TranslateConfig) -> int:
    """Translates, writes the pictures, the page and metrics.json; returns the exit status."""
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = options.load_config(run_directory)
    checkpoint = checkpoints.find(run_directory, settings.epoch)
    model = MODELS[config.model](config, training=False)
    checkpoints.restore_networks(model, checkpoint)
    translators = {direction: tf.function(network) for direction, network in model.translators().items()}

    multiple = model.translators()['AtoB'].side_multiple
    if settings.load_size is not None and settings.load_size % multiple:
        raise UserError(
            f'`load_size` ({settings.load_size}) is no multiple of {multiple}, which netG {config.netG} needs.'
        )
    geometry = test_geometry(config, settings.load_size)
    channels = {'A': config.input_nc, 'B': config.output_nc}
    if config.direction == 'BtoA':
        channels = {'A': config.output_nc, 'B': config.input_nc}
    dataroot = settings.dataroot or config.dataroot
    mode = settings.dataset_mode or config.dataset_mode
    data_dir = settings.data_dir or config.data_dir
    found = sources.open_domains(dataroot, settings.phase, mode, settings.num_test, data_dir)
    domains = dict(zip(settings.direction[0] if mode == 'single' else 'AB', found))

    results = pathlib.Path(settings.results_dir) / settings.name / f'{settings.phase}_{settings.epoch}'
    (results / 'images').mkdir(parents=True, exist_ok=True)
    _clear(results)
    sections, measured = [], {'psnr': {}, 'psnr_untranslated': {}}
    for domain, source in domains.items():
        direction = f'{domain}to{_OTHER[domain]}'
        partner = domains.get(_OTHER[domain])
        translate, back = translators[direction], translators[f'{_OTHER[domain]}to{domain}']
        rows, psnr, untranslated = [], [], []
        for index, name in enumerate(tqdm(source.names, direction, leave=False, disable=None)):
            real = _read(source, index, geometry, channels[domain])
            fake = translate(tf.constant(real[None]))
            real, fake, rec = (
                preprocess.to_uint8(real),
                preprocess.to_uint8(fake)[0],
                preprocess.to_uint8(back(fake))[0],
            )
            pictures = {f'real_{domain}': real, f'fake_{_OTHER[domain]}': fake, f'rec_{domain}': rec}
            captions = {label: _save(picture, results, f'{name}_{label}') for label, picture in pictures.items()}
            note = ''
            truth = _counterpart(partner, name, geometry, channels[_OTHER[domain]])
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
    about = f'{config.netG}, step {checkpoint.step}, preprocess {config.preprocess}.'
    title = f'{settings.name}: {settings.phase} images, {settings.epoch}'
    gallery.write_page(page, title, about, sections, (geometry.crop_size, geometry.crop_size))
    about_images = {'size': geometry.crop_size} if config.preprocess == 'resize_and_crop' else {}
    _write_metrics(
        results / 'metrics.json', {**measured, 'step': checkpoint.step, **about_images, 'dataroot': dataroot}
    )
    for direction, value in measured['psnr'].items():
        before = measured['psnr_untranslated'].get(direction)
        rise = '' if before is None else f', untranslated {before:.2f} dB, a rise of {value - before:.2f} dB'
        print(f'{direction}: PSNR {value:.2f} dB{rise}')
    print(f'Results page: {page}')
    return 0


def test_geometry(config: Config, load_size: Optional[int]) -> Geometry:
    """At which size images are translated: as the run's preprocess gives it, without a crop."""
    geometry = Geometry(config.preprocess, config.load_size, config.crop_size, config.side_multiple, config.least_side)
    if load_size is None:
        return geometry
    # resize_and_crop takes the size from crop_size, as the reference's test program; the others from load_size.
    return dataclasses.replace(geometry, load_size=load_size, crop_size=load_size)


def _read(source: sources.Source, index: int, geometry: Geometry, channels: int) -> np.ndarray:
    try:
        return preprocess.read_uncropped(source, index, geometry, channels)
    except decode.BadImage as error:
        raise source.error(index, error) from error


def _counterpart(
    partner: Optional[sources.Source], name: str, geometry: Geometry, channels: int
) -> Optional[np.ndarray]:
    if partner is None or name not in partner.names:
        return None
    return preprocess.to_uint8(_read(partner, partner.names.index(name), geometry, channels))


def _clear(results: pathlib.Path) -> None:
    """Takes away the pictures of an earlier translation, which the page would no longer show."""
    for path in (results / 'images').rglob('*.png'):
        path.unlink()


def _save(picture: np.ndarray, results: pathlib.Path, name: str) -> str:
    """Writes images/NAME.png, whole or not at all; returns its path relative to the results."""
    path = results / 'images' / f'{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.part')
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(partial, 'PNG')
    os.replace(partial, path)
    return path.relative_to(results).as_posix()


def _write_metrics(path: pathlib.Path, values: dict) -> None:
    partial = path.with_suffix('.part')
    partial.write_text(json.dumps(values, indent=2) + '\n')
    os.replace(partial, path)


if __name__ == '__main__':
    options.run_program('cyclegan_tf.translate', lambda argv: options.parse(TranslateConfig, argv), main)

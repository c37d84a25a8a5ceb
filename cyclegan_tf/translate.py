"""Translates a run's test images both ways: python -m cyclegan_tf.translate --name=RUN."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Optional

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from cyclegan_tf import checkpoints, gallery, metrics, options
from cyclegan_tf.config import TranslateConfig
from cyclegan_tf.data import preprocess, sources
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

    size = settings.load_size or config.crop_size
    multiple = model.translators()['AtoB'].side_multiple
    if size % multiple:
        raise UserError(f'`load_size` ({size}) is no multiple of {multiple}, which netG {config.netG} needs.')
    channels = {'A': config.input_nc, 'B': config.output_nc}
    if config.direction == 'BtoA':
        channels = {'A': config.output_nc, 'B': config.input_nc}
    dataroot = settings.dataroot or config.dataroot
    domains = {domain: sources.open_source(dataroot, settings.phase, domain, settings.num_test) for domain in 'AB'}

    results = pathlib.Path(settings.results_dir) / settings.name / f'{settings.phase}_{settings.epoch}'
    (results / 'images').mkdir(parents=True, exist_ok=True)
    _clear(results)
    sections, measured = [], {'psnr': {}, 'psnr_untranslated': {}}
    for domain, source in domains.items():
        direction = f'{domain}to{_OTHER[domain]}'
        partner = domains[_OTHER[domain]]
        translate, back = translators[direction], translators[f'{_OTHER[domain]}to{domain}']
        rows, psnr, untranslated = [], [], []
        for index, name in enumerate(tqdm(source.names, direction, leave=False, disable=None)):
            real = _read(source, index, size, channels[domain])
            fake = translate(tf.constant(preprocess.to_float(real[None])))
            rec = preprocess.to_uint8(back(fake))[0]
            fake = preprocess.to_uint8(fake)[0]
            pictures = {f'real_{domain}': real, f'fake_{_OTHER[domain]}': fake, f'rec_{domain}': rec}
            captions = {label: _save(picture, results, f'{name}_{label}') for label, picture in pictures.items()}
            note = ''
            truth = _counterpart(partner, name, size, channels[_OTHER[domain]])
            if truth is not None:
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
    about = f'{config.netG}, step {checkpoint.step}, pictures of {size}x{size}.'
    gallery.write_page(
        page, f'{settings.name}: {settings.phase} images, {settings.epoch}', about, sections, (size, size)
    )
    _write_metrics(results / 'metrics.json', {**measured, 'step': checkpoint.step, 'size': size, 'dataroot': dataroot})
    for direction, value in measured['psnr'].items():
        before = measured['psnr_untranslated'].get(direction)
        rise = '' if before is None else f', untranslated {before:.2f} dB, a rise of {value - before:.2f} dB'
        print(f'{direction}: PSNR {value:.2f} dB{rise}')
    print(f'Results page: {page}')
    return 0


def _read(source: sources.Source, index: int, size: int, channels: int) -> np.ndarray:
    image = source.read(index, channels).resize((size, size), Image.BICUBIC)
    return np.asarray(image).reshape(size, size, channels)


def _counterpart(partner: sources.Source, name: str, size: int, channels: int) -> Optional[np.ndarray]:
    if name not in partner.names:
        return None
    return _read(partner, partner.names.index(name), size, channels)


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

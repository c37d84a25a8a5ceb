"""Translates images, or a run's test set both ways: python -m cyclegan_tf.translate --name=RUN [--input=FILES]."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
from tqdm import tqdm

from cyclegan_tf.data import decode, pairs, preprocess, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.levels import to_float, to_levels, to_uint8
from cyclegan_tf.data.test_images import make_test_geometry
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import metrics
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.runtime.files import count, make_folder, write_json
from cyclegan_tf.runtime.hardware import half_precision_warning, missing_gpu_warning
from cyclegan_tf.settings import options
from cyclegan_tf.settings.training import Config, setting, validate_epoch, validate_fields
from cyclegan_tf.translation import files, gallery
from cyclegan_tf.translation.translator import Translator


@dataclasses.dataclass(frozen=True)
class TranslateConfig:
    """What translating is made from: the files of --input, or a run's test images."""

    name: str = setting('experiment_name', 'of the run: its directory is CHECKPOINTS_DIR/NAME')
    checkpoints_dir: str = setting('./checkpoints', 'where the directories of runs are')
    input: Optional[str] = setting(
        None, "an image, a folder or a quoted pattern as 'in/*.jpg'; unset: the run's test images, with a results page"
    )
    output: Optional[str] = setting(None, 'folder for the pictures of --input; unset: RESULTS_DIR/NAME/files_EPOCH')
    direction: Optional[str] = setting(
        None,
        "names the data set's folders, whatever the run's own was; unset: all that the run has, but with --input the "
        'first of them',
        choices=('AtoB', 'BtoA', 'both'),
    )
    resize: Optional[str] = setting(None, "'WIDTHxHEIGHT': resize the images of --input first; unset: they keep theirs")
    output_depth: str = setting(
        'auto', 'bits of the pictures; auto: as many as the image had', choices=('auto', '8', '16')
    )
    precision: str = setting(
        'float32',
        'what convolutions are computed in; bfloat16, float16: faster, where the processor has instructions for it',
        choices=('float32', 'bfloat16', 'float16'),
    )
    max_pixels: Optional[int] = setting(
        None,
        'pixels that are translated at once; images with more are translated in tiles; unset: what fits into half of '
        "the machine's free memory; set it where a GPU has less",
        minimum=1,
    )
    batch_size: int = setting(
        8, 'images of --input of one size that are translated at once, as far as max_pixels goes', minimum=1
    )
    num_threads: int = setting(2, 'threads that read, and that write', minimum=1)
    results_dir: str = setting('./results', 'where the pictures and the page are put, in NAME/PHASE_EPOCH')
    phase: str = setting('test', 'which images of the data set', choices=('train', 'test'))
    epoch: str = setting(
        'latest', "'latest', 'best' (see keep_best of training), or translate with the weights at the end of this epoch"
    )
    # Departs from the reference: it stops after 50 unless told otherwise, which surprises those who have more.
    num_test: Optional[int] = setting(None, 'images per domain; unset: all (the reference: 50)', minimum=1)
    dataroot: Optional[str] = setting(None, "where the images are; unset: where the run's were")
    dataset_mode: Optional[str] = setting(
        None,
        "unset: the run's; single: the folder dataroot itself, all of it one domain, translated in one direction",
        choices=('unaligned', 'aligned', 'single'),
    )
    data_dir: Optional[str] = setting(None, "where TensorFlow Datasets keeps data sets; unset: where the run's was")
    load_size: Optional[int] = setting(
        None,
        "images are resized to this square, or width; unset: the run's crop_size, or its load_size; with --input: they "
        'keep their size',
        minimum=8,
    )
    verbose: bool = setting(False, 'show tracebacks of errors')

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch)
        if self.resize and self.load_size:
            raise UserError(f'`resize` ({self.resize}) and `load_size` ({self.load_size}) exclude each other.')
        _ = self.resized  # raises for a value that cannot be read

    @property
    def resized(self) -> Optional[tuple[int, int]]:
        """Width and height to which the images of --input are resized, or None."""
        if self.resize is None:
            return (self.load_size, self.load_size) if self.load_size else None
        parts = self.resize.lower().split('x')
        if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
            raise UserError(f"`resize` ('{self.resize}') is not 'WIDTHxHEIGHT' in pixels, as in 640x480; mend it.")
        return int(parts[0]), int(parts[1])


def parse(argv: Sequence[str]) -> TranslateConfig:
    """Command line to settings; raises as options.parse."""
    return options.parse(TranslateConfig, argv, options.REFUSED_WITH_A_RUN)


def main(settings: TranslateConfig) -> int:
    """Translates; returns the exit status."""
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = options.load_config(run_directory)
    checkpoint = checkpoints.find(run_directory, settings.epoch)
    for warning in filter(None, (missing_gpu_warning(), half_precision_warning(settings.precision))):
        print(warning, file=sys.stderr)
    translator = Translator.from_checkpoint(config, checkpoint, settings.max_pixels, settings.precision)
    with translator.out_of_memory_named():
        problems = (translate_input if settings.input else translate_phase)(settings, config, translator)
    for line in problems:
        print(f'Left aside: {line}', file=sys.stderr)
    if problems:
        raise UserError(f'{count(len(problems), "image")} could not be translated, see above; all others are done.')
    return 0


def translate_input(settings: TranslateConfig, config: Config, translator: Translator) -> Sequence[str]:
    """Translates the files of --input; returns a line for each that cannot be used."""
    source = sources.open_files(settings.input)
    if settings.num_test is not None:
        source = source.select(range(min(settings.num_test, len(source))))
    output = pathlib.Path(
        settings.output or pathlib.Path(settings.results_dir) / settings.name / f'files_{settings.epoch}'
    )
    first = translator.translation() if settings.direction is None else None
    directions = [one.name for one in ([first] if first else translator.choose(settings.direction))]
    source = leave_out_results(source, settings.input, output)
    refuse_overwriting(source, files.plan(source, directions, output), output)
    make_folder('output' if settings.output else 'results_dir', settings.output or settings.results_dir, output)
    try:
        outcome = files.translate_files(
            translator,
            source,
            directions,
            output,
            settings.resized,
            settings.output_depth,
            settings.batch_size,
            settings.num_threads,
        )
    except OSError as error:
        raise UserError(f"'{output}' cannot be written any more ({error.strerror}); mend that and repeat.") from error
    print(f'{count(outcome.written, "picture")} in {output}, {", ".join(directions)}.')
    return outcome.problems


def leave_out_results(source: sources.Source, place: str, output: pathlib.Path) -> sources.Source:
    """Without the images in the output folder, if that lies within the folder that is read."""
    folder, inner = (os.path.realpath(os.path.expanduser(path)) for path in (place, output))
    if inner == folder or os.path.commonpath([folder, inner]) != folder:
        return source
    labels = [os.path.realpath(source.label(index)) for index in range(len(source))]
    kept = [index for index, label in enumerate(labels) if os.path.commonpath([label, inner]) != inner]
    if not kept:
        raise UserError(f"`input` ('{place}') holds nothing but what was written to `output`; put images there.")
    return source.select(kept)


def refuse_overwriting(
    source: sources.Source, targets: Mapping[str, Sequence[pathlib.Path]], output: pathlib.Path
) -> None:
    """Raises UserError if a picture would take the place of an image that is read."""
    read = {os.path.realpath(source.label(index)) for index in range(len(source))}
    for path in itertools.chain.from_iterable(targets.values()):
        if os.path.realpath(path) in read:
            raise UserError(f"`output` ('{output}') would overwrite '{path}', which is read; set it to another folder.")


def translate_phase(settings: TranslateConfig, config: Config, translator: Translator) -> Sequence[str]:
    """Translates a part of the data set; writes the pictures, the page and metrics.json.

    Returns:
        A line for each image that cannot be used.
    """
    wanted = translator.choose(settings.direction)
    geometry = make_test_geometry(config, settings.load_size)
    dataroot = settings.dataroot or config.dataroot
    mode = settings.dataset_mode or config.dataset_mode
    if mode == 'single' and len(wanted) > 1:
        ways = ' or '.join(one.name for one in wanted)
        raise UserError(f'`dataset_mode` (single) needs a `direction`; set --direction to {ways}.')
    data_dir = settings.data_dir or config.data_dir
    found = sources.open_domains(dataroot, settings.phase, mode, settings.num_test, data_dir)
    domains = dict(zip(wanted[0].source if mode == 'single' else 'AB', found))
    channels = dict(zip(config.domains, config.channels.values()))
    files.check_channels(translator, channels.values())
    doubt = pairs.doubt(*found, geometry) if len(found) == 2 else None
    if doubt is not None:
        print(f'Images are not compared as pairs: {doubt}.')

    results = pathlib.Path(settings.results_dir) / settings.name / f'{settings.phase}_{settings.epoch}'
    make_folder('results_dir', settings.results_dir, results / 'images')
    _clear(results)
    sections, problems, measured = [], [], {'psnr': {}, 'psnr_untranslated': {}}
    for translation in wanted:
        direction, domain, target = translation.name, translation.source, translation.target
        source, partner = domains[domain], domains.get(target)
        counterparts = pairs.find(source, partner) if partner is not None and doubt is None else {}
        rows, psnr, untranslated = [], [], []
        for index, name in enumerate(tqdm(source.names, direction, leave=False, disable=None)):
            try:
                levels = preprocess.read_levels(source, index, geometry, channels[domain])
            except decode.BadImage as error:
                problems.append(f'{source.label(index)}: {error}')
                continue
            real = to_float(levels)
            fake = translator.translate_floats(real[None], direction)
            pictures = {f'real_{domain}': real, f'fake_{target}': fake[0]}
            if translation.inverse in translator.translations:
                pictures[f'rec_{domain}'] = translator.translate_floats(fake, translation.inverse)[0]
            dtype = files.choose_dtype(settings.output_depth, levels.dtype)
            shown = {label: _save(picture, dtype, results, f'{name}_{label}') for label, picture in pictures.items()}
            truth = _read_counterpart(partner, counterparts.get(name), geometry, channels[target])
            note, score = '', None
            if truth is not None and truth.shape[:2] == real.shape[:2]:
                label, dtype = (
                    f'true_{target}',
                    files.choose_dtype(settings.output_depth, truth.dtype),
                )
                truth = to_float(truth)
                shown[label] = _save(truth, dtype, results, f'{name}_{label}')
                # In levels of 255, as evaluate does it, whatever depth is written.
                real, fake, truth = (to_uint8(image) for image in (real, fake[0], truth))
                score = metrics.psnr(fake, truth)
                psnr.append(score)
                note = f'PSNR {score:.1f} dB'
                if real.shape == truth.shape:
                    untranslated.append(metrics.psnr(real, truth))
                    note += f', untranslated {untranslated[-1]:.1f} dB'
            rows.append(gallery.Row(name, shown, note, score))
        facts = {'images': f'{len(rows):,}'}
        if psnr:
            measured['psnr'][direction] = float(np.mean(psnr))
            facts['pairs'] = f'{len(psnr):,}'
            facts['mean PSNR'] = f'{np.mean(psnr):.2f} dB'
        if untranslated:
            measured['psnr_untranslated'][direction] = float(np.mean(untranslated))
            facts['untranslated'] = f'{np.mean(untranslated):.2f} dB'
        introduction = f'{len(source)} images of {source.where}.'
        sections.append(gallery.Section(f'{domain} to {target}', introduction, rows, facts))

    page = results / 'index.html'
    about = f'{config.netG}, step {translator.step}, preprocess {config.preprocess}.'
    title = f'{settings.name}: {settings.phase} images, {settings.epoch}'
    about_images = {'size': geometry.crop_size} if config.preprocess == 'resize_and_crop' else {}
    write_json(results / 'metrics.json', {**measured, 'step': translator.step, **about_images, 'dataroot': dataroot})
    gallery.write_page(page, title, about, sections, 'PSNR', {'metrics.json': 'metrics.json'})
    for direction, value in measured['psnr'].items():
        before = measured['psnr_untranslated'].get(direction)
        rise = '' if before is None else f', untranslated {before:.2f} dB'
        if before is not None and np.isfinite([before, value]).all():
            rise += f', a rise of {value - before:.2f} dB'
        print(f'{direction}: PSNR {value:.2f} dB{rise}')
    print(f'Results page: {page}')
    return problems


def _read_counterpart(
    partner: Optional[sources.Source], index: Optional[int], geometry: Geometry, channels: int
) -> Optional[np.ndarray]:
    """uint8 or uint16 [h, w, channels]; None where there is none."""
    if index is None:
        return None
    try:
        return preprocess.read_levels(partner, index, geometry, channels)
    except decode.BadImage:
        return None  # it is named among its own domain's


def _clear(results: pathlib.Path) -> None:
    """Takes away the page of an earlier translation, and its pictures, which the new page would not show."""
    for name in ('index.html', 'metrics.json'):
        (results / name).unlink(missing_ok=True)
    for path in (results / 'images').rglob('*.png'):
        path.unlink()


def _save(picture: np.ndarray, dtype: np.dtype, results: pathlib.Path, name: str) -> gallery.Picture:
    """Writes images/NAME.png from float [h, w, c] in [-1, 1], whole or not at all; dtype: uint8 or uint16."""
    path = results / 'images' / f'{name}.png'
    files.write_png(path, to_levels(picture, dtype))
    height, width = picture.shape[:2]
    return gallery.Picture(path.relative_to(results).as_posix(), width, height)


if __name__ == '__main__':
    options.run_program('cyclegan_tf.translate', parse, main)

"""Compares translation from disk to disk with PyTorch's: python tools/benchmark.py translate [--images=8]

Ours is cyclegan_tf.translate in each precision. Theirs, if torch is installed, is a loop as in the reference's test.py:
Pillow reads, the generator (torch_mirror.py, with the same weights) translates one image after another, Pillow writes.
In the same loop, other runtimes run the exported generator (runtimes.py), if --kinds asks for them. Input files are
JPEGs, output files PNGs. Each kind has a separate process, which reports its peak memory; they take turns, and medians
are reported. Seconds are those of one image in a steady state: without the start of the process and without the first
turn over all images, which compiles and allocates memory. Complete programs are measured too, from the start of the
process to its end.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from benchmark import common, runtimes
from benchmark.settings import OUR_TRANSLATIONS, RUNTIME_TRANSLATIONS, TranslateConfig, image_size
from cyclegan_tf.errors import UserError

_RATIOS = (
    ('float32', 'torch'),
    ('float32', 'best torch'),
    ('bfloat16', 'torch'),
    ('bfloat16', 'best torch'),
    ('bfloat16', 'torch autocast'),
    ('bfloat16', 'best torch autocast'),
    *((kind, 'float32') for kind in RUNTIME_TRANSLATIONS),
)
_NAME = 'benchmark'  # of the run
# In the benchmark's folder.
_WEIGHTS = 'G_A.npz'  # a state_dict
_MODELS = 'models'  # those of other runtimes


def main(config: TranslateConfig) -> int:
    """Prints the result as JSON; returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(config, pathlib.Path(folder))
    return common.finish(result, config.json)


def measure(config: TranslateConfig, folder: pathlib.Path) -> dict[str, Any]:
    """Measures all kinds in turns, the ratios between them, and the differences between their pictures.

    Args:
        config: the settings.
        folder: an empty folder for the run, images and pictures.
    """
    kinds = runtimes.installed(common.installed(config.chosen()))
    make_files(config, folder)
    make_models(config, folder, [kind for kind in kinds if kind in RUNTIME_TRANSLATIONS])
    values = {**dataclasses.asdict(config), 'json': None, 'folder': str(folder)}
    rows, _ = common.in_turns(
        common.worker('translate'), dict.fromkeys(kinds, values), config.repeats, f'for {config.images} images'
    )
    for kind, row in rows.items():
        row.update({name: row[name] / config.images for name in ('seconds', 'least', 'most')})
        if kind in RUNTIME_TRANSLATIONS:
            row['runtime'] = runtimes.describe(kind)
            row['file_bytes'] = (folder / _MODELS / runtimes.FILES[kind]).stat().st_size
    pairs = [(kind, 'torch') for kind in kinds] + [(kind, 'float32') for kind in kinds if not kind.startswith('torch')]
    differences = {
        f'{kind} / {other}': mean_difference(folder / kind, folder / other)
        for kind, other in pairs
        if other in kinds and kind != other
    }
    result = {
        'machine': common.machine(),
        'settings': common.settings_of(config),
        'meaning': 'seconds: for one image, from file to file, in a steady state (without the start of the process and '
        'the first turn); file_bytes: of the exported model; mean_difference: mean absolute difference of pictures, in '
        'levels of 255; mean_difference_of_range: the same, divided by 255',
        'images': rows,
        'ratios': common.ratios(rows, {'image': 'seconds', 'memory': 'peak_bytes'}, _RATIOS),
        'mean_difference': differences,
        'mean_difference_of_range': {pair: levels / 255 for pair, levels in differences.items()},
    }
    if config.programs:
        result['programs'] = measure_programs(config, folder, kinds)
    return result


def measure_programs(config: TranslateConfig, folder: pathlib.Path, kinds: list[str]) -> dict[str, Any]:
    """Seconds of complete programs for all images, from the start of Python to its end, in turns."""
    values = {**dataclasses.asdict(config), 'json': None, 'folder': str(folder)}
    commands = {}
    for kind in kinds:
        if kind in OUR_TRANSLATIONS:
            flags = [f'--{name}={value}' for name, value in our_settings(kind, values).items() if value is not None]
            commands[kind] = [sys.executable, '-m', 'cyclegan_tf.translate', *flags]
        else:
            commands[kind] = common.program('once', 'translate', kind, json.dumps(values))
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _, kind in itertools.product(range(config.repeats), kinds):
        start = time.perf_counter()
        done = subprocess.run(
            commands[kind],
            cwd=common.ROOT,
            env=common.environment(),
            stdout=subprocess.DEVNULL,
        )
        seconds[kind].append(time.perf_counter() - start)
        if done.returncode:
            raise UserError(f"the program that translates as '{kind}' failed (status {done.returncode}); see above.")
        common.say(f'{kind}: {seconds[kind][-1]:.2f} s, the complete program')
    rows = {kind: common.summary(of_one) for kind, of_one in seconds.items()}
    meaning = (
        f'seconds: of a program that translates {config.images} images, from its start to its end; that of PyTorch or '
        f'another runtime imports only this, NumPy and Pillow, less than the reference does'
    )
    return {'meaning': meaning, **rows, 'ratios': common.ratios(rows, {'program': 'seconds'}, _RATIOS)}


def make_files(config: TranslateConfig, folder: pathlib.Path) -> None:
    """Makes the run, its generator's weights for PyTorch, and the images."""
    from benchmark.run import make_run
    from cyclegan_tf.networks import torch_weights
    from cyclegan_tf.settings.models import CycleGANConfig

    run = CycleGANConfig(dataroot='demo', name=_NAME, netG=config.netG, ngf=config.ngf)
    model = make_run(run, folder / 'checkpoints')
    slots = torch_weights.generator_slots(run.netG, not run.no_dropout)
    np.savez(folder / _WEIGHTS, **torch_weights.state_dict(model.translations['AtoB'].network, slots))
    make_images(folder / 'images', config.images, *image_size(config.size))


def make_images(folder: pathlib.Path, count: int, width: int, height: int) -> None:
    """Writes photographs of the demo as JPEGs of one size, all of them different."""
    from cyclegan_tf.data import demo

    folder.mkdir()
    pictures = list(demo.regions('test', 'A').values())
    for i in range(count):
        image = Image.fromarray(np.roll(pictures[i % len(pictures)], i, axis=0)).resize((width, height))
        image.save(folder / f'{i:04}.jpg', quality=90)


def make_models(config: TranslateConfig, folder: pathlib.Path, kinds: list[str]) -> None:
    """Makes the files of exported models; in 8 bits they are calibrated on images of the run's training set."""
    if not kinds:
        return
    from benchmark.serving import write
    from cyclegan_tf.data import demo

    tiles = list(demo.regions('train', 'A').values())
    chosen = [tiles[i * len(tiles) // config.calibration] for i in range(config.calibration)]  # of all photographs
    images = [
        np.asarray(Image.fromarray(tile).resize(image_size(config.size)), np.float32)[None] / 127.5 - 1
        for tile in chosen
    ]
    runtimes.write_models(
        kinds,
        folder / _MODELS,
        folder / 'checkpoints' / _NAME,
        lambda: write(folder, 'exported', '--format=onnx'),
        images,
    )


def mean_difference(some: pathlib.Path, others: pathlib.Path) -> float:
    """The mean absolute difference of two folders' pictures, which have the same names, in levels of 255."""
    paths = sorted(others.iterdir())
    assert paths and [path.name for path in paths] == [path.name for path in sorted(some.iterdir())]
    pairs = [[np.asarray(Image.open(place / path.name), np.float64) for place in (some, others)] for path in paths]
    return float(np.mean([np.abs(one - other).mean() for one, other in pairs]))


# ------------------------------------------------------------------------------------------------------ worker process
def work(kind: str, values: Mapping[str, Any]) -> Callable[[], None]:
    """A function that translates all images once."""
    if kind in OUR_TRANSLATIONS:
        return _our_translation(kind, values)
    return (_runtime_translation if kind in RUNTIME_TRANSLATIONS else _their_translation)(kind, values)


def our_settings(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of cyclegan_tf.translate for a kind of ours."""
    folder = pathlib.Path(values['folder'])
    return {
        'name': _NAME,
        'checkpoints_dir': str(folder / 'checkpoints'),
        'input': str(folder / 'images'),
        'output': str(folder / kind),
        'precision': kind,
        'emulate_precision': True,  # on every CPU, what the kind says
        'batch_size': values['batch_size'],
        'num_threads': values['num_threads'],
    }


def _our_translation(kind: str, values: Mapping[str, Any]) -> Callable[[], None]:
    from cyclegan_tf.runs import checkpoints
    from cyclegan_tf.runtime import hardware
    from cyclegan_tf.settings.run_flags import load_config
    from cyclegan_tf.settings.translation import TranslateConfig
    from cyclegan_tf.translation.files import translate_input
    from cyclegan_tf.translation.translator import Translator

    # As in the main function of the program; only its work on the files is repeated.
    settings = TranslateConfig(**our_settings(kind, values))
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = load_config(run_directory)
    checkpoint = checkpoints.find(run_directory, settings.epoch)
    hardware.prepare_translation()
    directions = Translator.directions_of_files(config, checkpoint, settings.direction)
    translator = Translator.from_checkpoint(
        config, checkpoint, settings.max_pixels, settings.precision, directions=directions
    )

    def translate_all():
        outcome = translate_input(settings, translator)
        assert not outcome.problems, outcome.problems

    return translate_all


def _runtime_translation(kind: str, values: Mapping[str, Any]) -> Callable[[], None]:
    path = pathlib.Path(values['folder'], _MODELS, runtimes.FILES[kind])
    return _one_by_one(kind, values, runtimes.load(kind, path, *image_size(values['size'])))


def _their_translation(kind: str, values: Mapping[str, Any]) -> Callable[[], None]:
    import torch

    from benchmark import torch_mirror

    generator = torch_mirror.generator(values['netG'], 3, 3, values['ngf'], 'instance')
    with np.load(pathlib.Path(values['folder'], _WEIGHTS)) as weights:
        generator.load_state_dict({key: torch.from_numpy(weights[key]) for key in weights.files})
    layout = torch.channels_last if 'channels_last' in kind else torch.contiguous_format
    generator = generator.eval().to(memory_format=layout)

    def translate(image):
        x = torch.from_numpy(image).permute(2, 0, 1).contiguous().to(torch.float32)
        x = x.div_(255).sub_(0.5).div_(0.5)[None].to(memory_format=layout)
        return generator(x)[0].to(torch.float32).permute(1, 2, 0).numpy()

    translate_all = _one_by_one(kind, values, translate)
    without_gradients = torch.inference_mode if 'inference_mode' in kind else torch.no_grad

    def translate_all_without_gradients():
        with without_gradients(), torch.autocast('cpu', torch.bfloat16, enabled='autocast' in kind):
            translate_all()

    return translate_all_without_gradients


def _one_by_one(kind: str, values: Mapping[str, Any], translate: runtimes.Generator) -> Callable[[], None]:
    """A function that translates one file after another, as the reference does: Pillow reads and writes."""
    folder, size = pathlib.Path(values['folder']), image_size(values['size'])
    output = folder / kind
    output.mkdir(exist_ok=True)

    def translate_all():
        for path in sorted((folder / 'images').iterdir()):
            image = Image.open(path).convert('RGB').resize(size, Image.BICUBIC)
            fake = translate(np.array(image))
            # Departs from the reference: rounds instead of truncating, since the pictures are compared with ours.
            levels = np.rint((fake + 1) / 2 * 255).astype(np.uint8)
            Image.fromarray(levels).save(output / f'{path.stem}.png')

    return translate_all

"""Measures images per second of the training stream: python tools/benchmark.py pipeline [--dataroot=FOLDER]

Images are kept in memory, on disk, or decoded each time. PyTorch's DataLoader, if torch is installed, does the same
work with Pillow: resize to load_size, random crop, random flip, conversion to [-1, 1]. Each measurement has a separate
process; they take turns, and medians are reported.

With --images=NUMBER it measures how start, stream and memory grow with the number of images: the first start with a
folder, which looks at every image, and the second, which remembers what was found.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from benchmark import common
from benchmark.settings import PipelineConfig
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.start_times import StartTimes

OURS = ('memory', 'disk', 'none')
WORKERS = (0, 1, 2, 4)  # of the DataLoader; the reference's default is 4, the best one is compared
_WARM_UP = 0.5  # seconds before the measurement
_IMAGES = 300  # of each domain, made if no dataroot is given
_SIDE = 256  # of these images, in pixels
STARTS = ('first', 'second')
_SMALL_SIDE = 64  # of the images of --images, in pixels


def main(config: PipelineConfig) -> int:
    """Prints the result as JSON; returns the exit status."""
    if config.only:
        batches = _torch(config, int(config.only[6:])) if config.only.startswith('torch:') else _ours(config)
        print(json.dumps(_rate(batches, config)))
        batches.close()  # a stream that is still open would block the end of Python
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if config.images is not None:
            config = dataclasses.replace(config, dataroot=_many_images(config, folder))
            result = measure_starts(config)
            return common.finish(result, config.json)
        if config.dataroot:
            _paths(config.dataroot)  # raises now for a folder that holds no images
        else:
            _make_images(folder)
            config = dataclasses.replace(config, dataroot=folder)
        result = measure_pipeline(config)
    return common.finish(result, config.json)


def measure_pipeline(config: PipelineConfig) -> dict[str, Any]:
    """Measures all kinds in turns, each in a separate process."""
    kinds = common.installed([*OURS, *(f'torch:{workers}' for workers in WORKERS)])
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _, kind in itertools.product(range(config.repeats), kinds):
        rates[kind].append(_in_a_process(config, kind))
        common.say(f'{kind}: {rates[kind][-1]:.0f} images/s')
    result: dict[str, Any] = {
        'machine': common.machine(),
        'settings': common.settings_of(config),
        'images_per_second': {
            kind: {'median': statistics.median(of_one), 'least': min(of_one), 'most': max(of_one)}
            for kind, of_one in rates.items()
        },
    }
    medians = {kind: statistics.median(of_one) for kind, of_one in rates.items()}
    theirs = [value for kind, value in medians.items() if kind.startswith('torch:')]
    if theirs:
        result['ratio_to_best_dataloader'] = {kind: medians[kind] / max(theirs) for kind in OURS}
    return result


def measure_starts(config: PipelineConfig) -> dict[str, Any]:
    """Measures, wherever images are kept, two starts with an empty cache folder at first; each in a separate process.

    Returns:
        Under 'starts', for each kind and start, medians: 'seconds' from the process's start to its first batch, those
        of each of its 'phases', and the 'cpu_seconds' of all threads until then; the 'images_per_second' of the stream
        after that, of both domains; and 'peak_bytes'.
    """
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {kind: {start: [] for start in STARTS} for kind in OURS}
    for _, kind in itertools.product(range(config.repeats), OURS):
        with tempfile.TemporaryDirectory() as cache_dir:
            for start in STARTS:
                values = {'config': dataclasses.asdict(config), 'cache_dir': cache_dir}
                with common.Served(common.worker('pipeline'), kind, values) as process:
                    answer = process.ask()
                found[kind][start].append(answer)
                common.say(
                    f'{kind}: {start} start {answer["seconds"]:.1f} s, {answer["images_per_second"]:.0f} images/s'
                )
    return {
        'machine': common.machine(),
        'settings': common.settings_of(config),
        'starts': {
            kind: {start: _middle(answers) for start, answers in of_kind.items()} for kind, of_kind in found.items()
        },
    }


def _middle(answers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The median of each number of several answers, and the range of their seconds."""
    medians = {
        name: statistics.median(answer[name] for answer in answers)
        for name in ('cpu_seconds', 'images_per_second', 'peak_bytes')
    }
    phases = {name: statistics.median(answer['phases'][name] for answer in answers) for name in answers[0]['phases']}
    return {**common.summary([answer['seconds'] for answer in answers]), 'phases': phases, **medians}


def _in_a_process(config: PipelineConfig, kind: str) -> float:
    values = {**dataclasses.asdict(config), 'only': kind, 'json': None}
    flags = [f'--{name}={value}' for name, value in values.items() if value is not None]
    done = subprocess.run(common.program('pipeline', *flags), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"'{kind}' could not be measured (status {done.returncode}); see its message above.")
    return json.loads(done.stdout.splitlines()[-1])


def _rate(batches: Iterator[Any], config: PipelineConfig) -> float:
    """Images of both domains per second."""
    start = time.perf_counter()
    while time.perf_counter() < start + _WARM_UP:
        next(batches)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() < start + config.seconds:
        next(batches)
        steps += 1
    return 2 * steps * config.batch_size / (time.perf_counter() - start)


def _ours(config: PipelineConfig) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as cache_dir:
        yield from _batches(config, config.only, cache_dir, StartTimes())


def _batches(config: PipelineConfig, kind: str, cache_dir: str, times: StartTimes) -> Iterator[Any]:
    """Our own batches, as training opens them."""
    from cyclegan_tf.data.training_data import open_training_data
    from cyclegan_tf.runtime.console import Console

    times.mark('starting Python and importing TensorFlow')
    training = config.training(cache=kind, cache_dir=cache_dir)
    data = open_training_data(training, Console(config.batch_size, stream=sys.stderr), times=times)
    yield from data.stream().from_step(0)


class _Phases(StartTimes):
    """Start times as numbers."""

    def seconds(self) -> dict[str, float]:
        """Each phase's."""
        return dict(self._phases)


def work(kind: str, values: Mapping[str, Any]) -> Callable[[], Mapping[str, Any]]:
    """A start, and the stream after it; of a process that is asked once."""
    config = PipelineConfig(**values['config'])

    def start() -> Mapping[str, Any]:
        times = _Phases()
        batches = _batches(config, kind, values['cache_dir'], times)
        next(batches)
        times.mark('making the first batch')
        phases = times.seconds()
        return {
            'seconds': sum(phases.values()),
            'cpu_seconds': time.process_time(),
            'phases': phases,
            'images_per_second': _rate(batches, config),
            'peak_bytes': common.peak_bytes(),
        }

    return start


def _torch(config: PipelineConfig, workers: int) -> Iterator[Any]:
    import torch

    paths = _paths(config.dataroot)

    class Unaligned(torch.utils.data.Dataset):
        """The reference's work: a pair of images, with a random image of B."""

        def __len__(self):
            return max(map(len, paths))

        def __getitem__(self, index):
            a = paths[0][index % len(paths[0])]
            b = paths[1][int(torch.randint(len(paths[1]), ()))]
            return self.load(a), self.load(b)

        def load(self, path):
            image = Image.open(path).convert('RGB')
            image = image.resize((config.load_size, config.load_size), Image.BICUBIC)
            top, left = (int(torch.randint(config.load_size - config.crop_size + 1, ())) for _ in range(2))
            image = image.crop((left, top, left + config.crop_size, top + config.crop_size))
            if torch.rand(()) < 0.5:
                image = image.transpose(Image.FLIP_LEFT_RIGHT)
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
            return pixels.to(torch.float32).div_(127.5).sub_(1)

    loader = torch.utils.data.DataLoader(Unaligned(), config.batch_size, shuffle=True, num_workers=workers)
    while True:
        yield from loader


def _paths(dataroot: str) -> list[list[str]]:
    """The files of both domains, the same as in our own stream.

    Raises:
        UserError: there are no images.
    """
    from cyclegan_tf.data import sources

    if not os.path.isdir(dataroot):
        raise UserError(f"`dataroot` ('{dataroot}') is not a folder; set it to one with trainA and trainB.")
    return [[source.label(i) for i in range(len(source))] for source in sources.open_domains(dataroot, 'train')]


def _make_images(folder: str) -> None:
    from cyclegan_tf.data import demo

    for part in ('trainA', 'trainB'):
        pictures = list(demo.regions('test', part[-1]).values())
        os.makedirs(os.path.join(folder, part))
        for i in range(_IMAGES):
            pixels = np.roll(pictures[i % len(pictures)], i, axis=0)[:_SIDE, :_SIDE]
            Image.fromarray(pixels).save(os.path.join(folder, part, f'{i:04}.jpg'), quality=90)


def _many_images(config: PipelineConfig, folder: str) -> str:
    """The folder with config.images images: the given one, or a new one, made there or in `folder`.

    Raises:
        UserError: the given folder has another number of images.
    """
    root = config.dataroot or folder
    if config.dataroot and os.path.exists(root):
        count = sum(map(len, _paths(root)))
        if count != config.images:
            raise UserError(
                f"`images` ({config.images}) is not the number of images in `dataroot` ('{root}'), which is {count}; "
                'set it to that, or dataroot to a folder that does not exist.'
            )
        return root
    common.say(f'Making {config.images} images in {root}.')
    random = np.random.default_rng(0)
    for part, count in (('trainA', config.images - config.images // 2), ('trainB', config.images // 2)):
        os.makedirs(os.path.join(root, part))
        for i in range(count):
            noise = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            picture = noise.resize((_SMALL_SIDE, _SMALL_SIDE), Image.BICUBIC)
            picture.save(os.path.join(root, part, f'{i:07}.jpg'), quality=90)
    return root

"""Measures how the training step grows, and where its time goes: python tools/benchmark.py growth [--write]

Seconds and peak memory over sizes of image and batch; steps per second on one and more replicas (logical CPUs); and the
parts of the step with their share of what the machine does at best. Each has a process of its own. --write makes a page
of it, with a picture.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import psutil

from benchmark import common, page
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import setting, validate_fields
from cyclegan_tf.settings.models import CycleGANConfig

_MEMORY_SHARE = 0.9  # of what is free that a step may take


@dataclasses.dataclass(frozen=True)
class GrowthConfig:
    """What is measured."""

    netG: str = setting('resnet_9blocks', 'generators', choices=('resnet_9blocks', 'resnet_6blocks'))
    ngf: int = setting(64, 'filters of the generators', minimum=1)
    ndf: int = setting(64, 'filters of the discriminators', minimum=1)
    precision: str = setting('float32', 'of the convolutions', choices=('float32', 'bfloat16'))
    sizes: str = setting('128,256,512', 'sides of the images, in pixels, with commas')
    batches: str = setting('1,2,4', 'images per domain in a step, with commas')
    replicas: str = setting('1,2', 'logical CPUs that train together, with commas; all on one batch')
    crop_size: int = setting(256, 'side of the images for replicas and parts', minimum=32)
    repeats: int = setting(5, 'steps, or calls of each part, that are measured, after one that is not', minimum=1)
    peak_side: int = setting(4096, 'of the matrices whose product tells what the machine does at best', minimum=8)
    write: bool = setting(False, 'write the page and its picture')
    output: str = setting('docs/performance.md', 'the page; the picture lies beside it, as .png')
    json: Optional[str] = setting(None, 'write the result to this file too')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        for name in ('sizes', 'batches', 'replicas'):
            common.numbers(name, getattr(self, name))  # raises for a value that cannot be read
        self.training()  # raises for images that the networks do not take
        for side in common.numbers('sizes', self.sizes):
            try:
                self.training(crop_size=side)
            except UserError as error:
                raise UserError(f'`sizes` ({self.sizes}): {error}') from error
        if self.write:
            try:  # now, not when all has been measured
                import matplotlib  # noqa: F401
            except ImportError as error:
                raise UserError(
                    "Matplotlib is not installed, which --write needs; install cyclegan_tf's extra 'benchmark': "
                    "pip install '.[benchmark]'."
                ) from error

    def training(self, **changes: Any) -> dict[str, Any]:
        """Settings of cyclegan_tf.train.

        Raises:
            UserError: the networks do not take these images.
        """
        names = ('netG', 'ngf', 'ndf', 'precision', 'crop_size')
        values = {'dataroot': 'demo', **{name: getattr(self, name) for name in names}, **changes}
        values['load_size'] = values['crop_size']
        CycleGANConfig(**values)
        return values


def main(config: GrowthConfig) -> int:
    """Prints the result as JSON, and writes the page if it is to; returns the exit status."""
    result = {
        'date': datetime.date.today().isoformat(),
        'machine': common.machine(),
        'settings': common.settings_of(config),
        'steps': measure_sizes(config),
        'replicas': measure_replicas(config),
        **measure_parts(config),
    }
    status = common.finish(result, config.json)  # first: the page may turn out not to be writable
    if config.write:
        page.write(result, command(config), pathlib.Path(config.output))
    return status


def command(config: GrowthConfig) -> str:
    """That measures the same again."""
    fields = [field for field in dataclasses.fields(config) if field.name not in ('json', 'verbose', 'write', 'output')]
    flags = [
        f'--{field.name}={getattr(config, field.name)}'
        for field in fields
        if getattr(config, field.name) != field.default
    ]
    return ' '.join(['python tools/benchmark.py growth', *flags, '--write'])


def measure_sizes(config: GrowthConfig) -> list[dict[str, Any]]:
    """Seconds and peak memory of a step by size and batch; 'skipped' says why one is not measured."""
    sides, batches = (common.numbers(name, getattr(config, name)) for name in ('sizes', 'batches'))
    rows: list[dict[str, Any]] = []
    for side, batch in sorted(itertools.product(sides, batches), key=lambda pair: pair[0] ** 2 * pair[1]):
        row = {'size': side, 'batch': batch, 'pixels': side**2 * batch}
        wanted, there = expected_bytes(rows, row['pixels']), psutil.virtual_memory().available
        if wanted > _MEMORY_SHARE * there:
            row['skipped'] = f'would take some {wanted / 1e9:.0f} GB, {there / 1e9:.0f} GB are free'
            common.say(f'{side}x{side} x {batch}: {row["skipped"]}')
        else:
            kind, values = f'{side}x{side} x {batch}', config.training(crop_size=side, batch_size=batch)
            found, _ = common.in_turns(common.worker('growth'), {kind: values}, config.repeats, 'a step')
            row.update(found[kind], images_per_second=batch / found[kind]['seconds'])
        rows.append(row)
    return sorted(rows, key=lambda row: (row['size'], row['batch']))


def expected_bytes(rows: Sequence[Mapping[str, Any]], pixels: int) -> float:
    """The peak memory of a step, continued from the least and the largest that were measured; 0 if none was."""
    measured = [row for row in rows if 'peak_bytes' in row]
    if not measured:
        return 0.0
    first, last = measured[0], measured[-1]
    if first['pixels'] == last['pixels']:
        return last['peak_bytes'] * pixels / last['pixels']
    slope = (last['peak_bytes'] - first['peak_bytes']) / (last['pixels'] - first['pixels'])
    return last['peak_bytes'] + slope * (pixels - last['pixels'])


def measure_replicas(config: GrowthConfig) -> list[dict[str, Any]]:
    """Steps per second of one batch on several numbers of replicas, in turns."""
    counts = common.numbers('replicas', config.replicas)
    batch = math.lcm(*counts)
    values = {f'{count} x CPU': config.training(batch_size=batch, virtual_devices=count) for count in counts}
    found, _ = common.in_turns(common.worker('growth'), values, config.repeats, 'a step')
    rows = []
    for kind, row in found.items():
        rows.append({'replicas': values[kind]['virtual_devices'], 'batch': batch, 'size': config.crop_size, **row})
        rows[-1]['steps_per_second'] = 1 / row['seconds']
    return rows


def measure_parts(config: GrowthConfig) -> dict[str, Any]:
    """See parts.measure."""
    values = {'training': config.training(), 'repeats': config.repeats, 'peak_side': config.peak_side}
    with common.Served(common.worker('growth'), 'parts', values) as process:
        answer = process.ask()
    common.say(f'parts: {answer["seconds"]:.0f} s')
    return {name: answer[name] for name in ('parts', 'step', 'totals', 'rest_seconds', 'peak', 'peak_by')}


# -------------------------------------------------------------------------------------------------- a kind's process
def work(kind: str, values: Mapping[str, Any]) -> Callable[[], Any]:
    """A step, or everything about the parts."""
    if kind == 'parts':
        from benchmark import parts

        training = CycleGANConfig(**values['training'])
        return lambda: parts.measure(training, values['repeats'], values['peak_side'])
    from benchmark.step import open_step

    return open_step(CycleGANConfig(**values))

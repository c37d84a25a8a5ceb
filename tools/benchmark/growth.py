"""Measures how the training step grows, and where its time goes: python tools/benchmark.py growth [--write]

It measures seconds and peak memory by size of image and batch, steps per second on one and more replicas (logical
CPUs), and the parts of the step with their share of the machine's peak. Each measurement has a separate process.
--write writes a page about them, with a picture.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from benchmark import common, page
from benchmark.settings import GrowthConfig, numbers
from cyclegan_tf.settings.models import CycleGANConfig

_MEMORY_SHARE = 0.9  # of the free memory that a step may take


def main(config: GrowthConfig) -> int:
    """Prints the result as JSON, and writes the page if requested; returns the exit status."""
    result = {
        'date': datetime.date.today().isoformat(),
        'machine': common.machine(),
        'settings': common.settings_of(config),
        'steps': measure_sizes(config),
        'replicas': measure_replicas(config),
        **measure_parts(config),
    }
    status = common.finish(result, config.json)  # first, since the page may not be writable
    if config.write:
        page.write(result, command(config), pathlib.Path(config.output))
    return status


def command(config: GrowthConfig) -> str:
    """The command that repeats the measurement."""
    fields = [field for field in dataclasses.fields(config) if field.name not in ('json', 'verbose', 'write', 'output')]
    flags = [
        f'--{field.name}={getattr(config, field.name)}'
        for field in fields
        if getattr(config, field.name) != field.default
    ]
    return ' '.join(['python tools/benchmark.py growth', *flags, '--write'])


def measure_sizes(config: GrowthConfig) -> list[dict[str, Any]]:
    """Seconds and peak memory of a step by size and batch; 'skipped' says why one is not measured."""
    sides, batches = (numbers(name, getattr(config, name)) for name in ('sizes', 'batches'))
    rows: list[dict[str, Any]] = []
    for side, batch in sorted(itertools.product(sides, batches), key=lambda pair: pair[0] ** 2 * pair[1]):
        row = {'size': side, 'batch': batch, 'pixels': side**2 * batch}
        wanted, free = expected_bytes(rows, row['pixels']), psutil.virtual_memory().available
        if wanted > _MEMORY_SHARE * free:
            row['skipped'] = f'would take about {wanted / 1e9:.0f} GB, {free / 1e9:.0f} GB are free'
            common.say(f'{side}x{side} x {batch}: {row["skipped"]}')
        else:
            kind, values = f'{side}x{side} x {batch}', config.training(crop_size=side, batch_size=batch)
            found, _ = common.in_turns(common.worker('growth'), {kind: values}, config.repeats, 'a step')
            row.update(found[kind], images_per_second=batch / found[kind]['seconds'])
        rows.append(row)
    return sorted(rows, key=lambda row: (row['size'], row['batch']))


def expected_bytes(rows: Sequence[Mapping[str, Any]], pixels: int) -> float:
    """The peak memory of a step, extrapolated from the smallest and the largest that were measured; 0 if none was."""
    measured = [row for row in rows if 'peak_bytes' in row]
    if not measured:
        return 0.0
    first, last = measured[0], measured[-1]
    if first['pixels'] == last['pixels']:
        return last['peak_bytes'] * pixels / last['pixels']
    slope = (last['peak_bytes'] - first['peak_bytes']) / (last['pixels'] - first['pixels'])
    return last['peak_bytes'] + slope * (pixels - last['pixels'])


def measure_replicas(config: GrowthConfig) -> list[dict[str, Any]]:
    """Steps per second of one batch on different numbers of replicas, in turns."""
    counts = numbers('replicas', config.replicas)
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


# ------------------------------------------------------------------------------------------------------ worker process
def work(kind: str, values: Mapping[str, Any]) -> Callable[[], Any]:
    """A training step, or the measurement of all parts."""
    if kind == 'parts':
        from benchmark import parts

        training = CycleGANConfig(**values['training'])
        return lambda: parts.measure(training, values['repeats'], values['peak_side'])
    from benchmark.step import open_step

    return open_step(CycleGANConfig(**values))

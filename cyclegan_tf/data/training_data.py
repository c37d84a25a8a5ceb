"""From settings to the training stream: sources, the look at every image, what is kept where."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

from cyclegan_tf.data import inspection, pipeline, sources, stores
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.table import ImageTable
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.runtime.start_times import StartTimes
from cyclegan_tf.settings.training import Config

_SHOWN = 5  # duplicates that are named; the rest is counted


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Both domains' training images, as the model names the domains: with direction BtoA, its A is the folders' B.

    `worker` of `workers` takes its share of every batch.
    """

    config: Config
    table_a: ImageTable
    table_b: ImageTable
    worker: int = 0
    workers: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return pipeline.steps_per_epoch(self.table_a, self.table_b, self.config.images_per_step)

    @property
    def sizes(self) -> tuple[Optional[tuple[int, int]], Optional[tuple[int, int]]]:
        """(height, width) of A's and of B's images after the crop; None where they differ."""
        return self.table_a.result_size(), self.table_b.result_size()

    def stream(self, order: int = 0) -> pipeline.Stream:
        """The batches; each number stands for another order, other crops and so on."""
        config = self.config
        return pipeline.Stream(
            self.table_a,
            self.table_b,
            config.images_per_step,
            config.crop_size if config.crops else None,
            config.seed + order * 1_000_003,
            aligned=config.dataset_mode == 'aligned',
            serial_batches=config.serial_batches,
            flip=not config.no_flip,
            augment_policy=config.augment,
            threads=config.num_threads,
            worker=self.worker,
            workers=self.workers,
        )

    def scalars(self) -> dict[str, float]:
        """What TensorBoard shows of the data."""
        return {'data/replaced_images': self.table_a.replaced + self.table_b.replaced}

    @property
    def failure(self) -> Optional[UserError]:
        """The error behind a stream that failed."""
        return self.table_a.failure or self.table_b.failure


def make_geometry(config: Config) -> Geometry:
    """Sizes of a run's images."""
    return Geometry(config.preprocess, config.load_size, config.crop_size, config.side_multiple, config.least_side)


def open_sources(config: Config, phase: str, max_size: Optional[int]) -> tuple[sources.Source, ...]:
    """Both domains' images of a phase, as the model names the domains."""
    found = sources.open_domains(config.dataroot, phase, config.dataset_mode, max_size, config.data_dir)
    named = dict(zip('AB', found))
    return tuple(named[domain] for domain in config.domains)


def open_training_data(
    config: Config, console: Console, worker: int = 0, workers: int = 1, times: Optional[StartTimes] = None
) -> TrainingData:
    """Looks at every image, says what there is, and decodes what can be kept; for one of several workers.

    Args:
        config: the run's settings.
        console: where to say it.
        worker, workers: see TrainingData.
        times: is told what this takes.

    Raises:
        UserError: folders are missing; or images cannot be used, in which case the message lists all (with
            on_bad_image skip only if too few are left).
    """
    cache_dir = config.cache_dir or inspection.default_cache_dir()
    skip = config.on_bad_image == 'skip'
    found = open_sources(config, 'train', config.max_dataset_size)
    findings = [inspection.inspect(source, config.num_threads, cache_dir) for source in found]
    for label, source, seen in zip('AB', found, findings):
        console.line(f'Domain {label}, {source.where}: {inspection.describe(seen)}.')
    wanted = list(config.channels.values())
    findings = [inspection.check_channels(seen, channels) for seen, channels in zip(findings, wanted)]
    kept = _leave_aside(config, found, findings, console)
    twice = inspection.duplicates(found[0], findings[0], found[1], findings[1])
    for line in _shorten(twice):
        console.line(f'Warning: {line}.')

    geometry = make_geometry(config)
    found = [source.select(indices) for source, indices in zip(found, kept)]
    headers = [[seen[i].header for i in indices] for seen, indices in zip(findings, kept)]
    _warn_of_small_images(config, geometry, headers, console)
    tables = [
        ImageTable(source, of_one, geometry, channels, skip) for source, of_one, channels in zip(found, headers, wanted)
    ]
    _refuse_sizes(config, *(table.result_size() for table in tables))
    if times is not None:
        times.mark('looking at images')
    limit = None if config.cache_memory_mb is None else config.cache_memory_mb * 10**6
    needed, stored = sum(table.bytes_needed for table in tables), lambda: sum(t.bytes_stored(cache_dir) for t in tables)
    where, why = stores.choose(config.cache, needed, cache_dir, limit, stored)
    console.line(f'Cache: {why}.')
    if where != 'none':
        left_out = [line for table in tables for line in table.keep(where, cache_dir, config.num_threads)]
        for line in left_out:
            console.line(f'Left aside: {line}')
    if times is not None:
        times.mark('reading images')
    return TrainingData(config, *tables, worker, workers)


def _leave_aside(config, found, findings, console) -> list[list[int]]:
    """The images of each source that can be used; says or refuses which cannot."""
    lines = [line for source, seen in zip(found, findings) for line in inspection.bad_images(source, seen)]
    lines = list(dict.fromkeys(lines))  # the halves of aligned images are of the same files
    if config.on_bad_image == 'error':
        inspection.refuse(lines, len(found[0]) + (len(found[1]) if found[1].half is None else 0))
    for line in lines:
        console.line(f'Left aside: {line}')
    kept = [[i for i, finding in enumerate(seen) if finding.problem is None] for seen in findings]
    if found[0].half is not None:
        kept = [sorted(set(kept[0]) & set(kept[1]))] * 2
    for source, indices in zip(found, kept):
        if not indices:
            raise UserError(f'no image of {source.where} can be used; put others there:\n  ' + '\n  '.join(lines))
    return kept


def _refuse_sizes(config, size_a, size_b) -> None:
    if (size_a is None or size_b is None) and (config.images_per_step != 1 or config.pool_size):
        more = ', and no --accumulate_steps' if config.accumulate_steps > 1 else ''
        raise UserError(
            f'images differ in size under `preprocess` ({config.preprocess}), which needs --batch_size=1 and '
            f'--pool_size=0{more}; set them, or a --preprocess that cuts all to crop_size.'
        )
    if config.gan_mode == 'wgangp' and (size_a is None or size_a != size_b):
        raise UserError(
            '`gan_mode` (wgangp) mixes real and fake images, which needs all of one size; set --preprocess to one '
            'that cuts all to crop_size.'
        )


def _warn_of_small_images(config, geometry, headers, console) -> None:
    everything = [header for of_one in headers for header in of_one]
    small = sum(geometry.enlarges(header.width, header.height) for header in everything)
    if small:
        what = f'crop_size ({config.crop_size})' if geometry.crops else f'what the networks take ({geometry.least})'
        console.line(f'Warning: {small} of {len(everything)} images are smaller than {what} and are enlarged.')


def _shorten(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f'{rest} more images are in both domains'] if rest > 0 else [])]

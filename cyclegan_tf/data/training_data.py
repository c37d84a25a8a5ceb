"""From settings to the stream of training batches: sources, the check of every image, the cache."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Optional

from cyclegan_tf.data import inspection, pipeline, sources, stores
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.inspection import Finding
from cyclegan_tf.data.pictures import MAX_PIXELS, ReadOptions
from cyclegan_tf.data.table import ImageTable, keep_pairs
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.runtime.start_times import StartTimes
from cyclegan_tf.settings.training import Config

# The model's domain -> the flag that sets the range of its images' values.
RANGE_FLAGS = {'A': 'value_range', 'B': 'value_range_B'}

_SHOWN = 5  # duplicates that are listed; the others are only counted


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The training images of both domains. Their names A and B are the model's, which --direction=BtoA exchanges.

    Worker number `worker` of `workers` takes its share of every batch. `unjittered` are the tables of A and B for the
    epochs after config.last_jitter_epoch, if there are any.
    """

    config: Config
    table_a: ImageTable
    table_b: ImageTable
    worker: int = 0
    workers: int = 1
    unjittered: Optional[tuple[ImageTable, ImageTable]] = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return pipeline.steps_per_epoch(self.table_a, self.table_b, self.config.images_per_step)

    @property
    def sizes(self) -> tuple[Optional[tuple[int, int]], Optional[tuple[int, int]]]:
        """(height, width) of the images of A and of B after the crop; None if they differ."""
        return self.table_a.result_size(), self.table_b.result_size()

    def stream(self, order: int = 0) -> pipeline.Stream:
        """The stream of batches; every `order` gives another order of the images, other crops, and so on."""
        config = self.config
        unjittered = None
        if self.unjittered is not None:
            epochs = max(0, config.last_jitter_epoch - config.epoch_count + 1)
            unjittered = pipeline.Unjittered(*self.unjittered, epochs)
        return pipeline.Stream(
            self.table_a,
            self.table_b,
            config.images_per_step,
            config.crop_size if config.crops else None,
            config.seed + order * 1_000_003,
            aligned=config.paired,
            serial_batches=config.serial_batches,
            flip=not config.no_flip,
            augment_policy=config.augment,
            threads=config.num_threads,
            worker=self.worker,
            workers=self.workers,
            unjittered=unjittered,
        )

    def scalars(self) -> dict[str, float]:
        """Scalars about the data for TensorBoard, by tag."""
        return {'data/replaced_images': sum(table.replaced for table in self._tables)}

    @property
    def failure(self) -> Optional[UserError]:
        """The error that made the stream fail, if there is one."""
        return next((table.failure for table in self._tables if table.failure is not None), None)

    @property
    def _tables(self) -> Sequence[ImageTable]:
        return [self.table_a, self.table_b, *(self.unjittered or ())]


def make_geometry(config: Config) -> Geometry:
    """The sizes of a run's images."""
    return Geometry(config.preprocess, config.load_size, config.crop_size, config.side_multiple, config.least_side)


def read_options(config: Config) -> dict[str, ReadOptions]:
    """How the files of the data set's domains 'A' and 'B' are read for a run."""
    return {
        domain: ReadOptions(
            (channels,), value_range, config.tiff_pages == 'channels', config.max_image_pixels or MAX_PIXELS
        )
        for domain, channels, value_range in zip(config.domains, config.channels.values(), config.value_ranges.values())
    }


def pairing(config: Config) -> sources.Pairing:
    """How a run's pairs are found."""
    inputs = {} if config.input_folders is None else {config.domains[0]: config.input_parts}
    if config.input_feature is None:
        return sources.Pairing(inputs)
    features = dict(zip(config.domains, (config.input_feature, config.output_feature)))
    return sources.Pairing(inputs, (features['A'], features['B']))


def open_sources(config: Config, phase: str, max_size: Optional[int]) -> tuple[sources.Source, ...]:
    """The images of both domains in one phase, in the order of the model's A and B."""
    options = [read_options(config)[domain] for domain in 'AB']
    opened = sources.open_domains(
        config.dataroot, phase, config.dataset_mode, max_size, config.data_dir, options, pairing(config)
    )
    named = dict(zip('AB', opened))
    return tuple(named[domain] for domain in config.domains)


def open_training_data(
    config: Config, console: Console, worker: int = 0, workers: int = 1, times: Optional[StartTimes] = None
) -> TrainingData:
    """Checks every image, prints a summary, and caches what fits; for one worker of several.

    Args:
        config: the run's settings.
        console: where to print.
        worker, workers: see TrainingData.
        times: records the time that this takes.

    Raises:
        UserError: folders are missing; or images cannot be used, and the message lists all of them (with on_bad_image
            skip only if too few are left).
    """
    cache_dir = inspection.choose_cache_dir(config.cache_dir, console.line)
    skip = config.on_bad_image == 'skip'
    opened = open_sources(config, 'train', config.max_dataset_size)
    findings = [inspection.inspect(source, config.num_threads, cache_dir) for source in opened]
    for label, source, checked in zip('AB', opened, findings):
        console.line(f'Domain {label}, {source.where}: {inspection.describe(checked)}.')
        for line in inspection.notes(source, checked, RANGE_FLAGS[label]):
            console.line(f'Domain {label}: {line}')
    wanted = list(config.channels.values())
    findings = [inspection.check_channels(checked, channels) for checked, channels in zip(findings, wanted)]
    geometry = make_geometry(config)
    if opened[0].pairing and opened[0].half is None:
        findings = check_sizes_of_pairs(config, geometry, findings)
    kept = _usable(config, opened, findings, console)
    duplicates = inspection.duplicates(opened[0], findings[0], opened[1], findings[1])
    for line in _shorten(duplicates):
        console.line(f'Warning: {line}.')

    opened = [source.select(indices) for source, indices in zip(opened, kept)]
    headers = [[checked[i].header for i in indices] for checked, indices in zip(findings, kept)]
    _warn_of_small_images(config, geometry, headers, console)
    geometries = [geometry]
    if config.last_jitter_epoch is not None:
        geometries.append(dataclasses.replace(geometry, load_size=config.crop_size))
    tables = [
        ImageTable(source, domain_headers, one, channels, skip)
        for one in geometries
        for source, domain_headers, channels in zip(opened, headers, wanted)
    ]
    _refuse_sizes(config, *(table.result_size() for table in tables[:2]))
    if times is not None:
        times.mark('looking at images')
    limit = None if config.cache_memory_mb is None else config.cache_memory_mb * 10**6
    needed, stored = sum(table.bytes_needed for table in tables), lambda: sum(t.bytes_stored(cache_dir) for t in tables)
    where, why = stores.choose(config.cache, needed, cache_dir, limit, stored)
    console.line(f'Cache: {why}.')
    if where != 'none':
        decoded = [[checked[i].decoded for i in indices] for checked, indices in zip(findings, kept)]
        left_out = [
            line
            for table, of_domain in zip(tables, itertools.cycle(decoded))
            for line in table.keep(where, cache_dir, config.num_threads, of_domain)
        ]
        for line in dict.fromkeys(left_out):
            console.line(f'Skipped: {line}')
        for source, table, before in zip(opened, tables, decoded):
            inspection.remember_decoded(source, [i for i in table.places if not before[i]], cache_dir)
        # Every table of a domain has to have the same images, and those of pairs the same pairs.
        for of_domain in [tables] if config.paired else [tables[::2], tables[1::2]]:
            keep_pairs(of_domain)
    if times is not None:
        times.mark('reading images')
    unjittered = tuple(tables[2:]) if tables[2:] else None
    return TrainingData(config, *tables[:2], worker, workers, unjittered)


def check_sizes_of_pairs(
    config: Config, geometry: Geometry, findings: Sequence[Sequence[Finding]]
) -> list[list[Finding]]:
    """The findings, with a problem for pairs whose images would get crops of different places."""
    if config.preprocess == 'resize_and_crop':
        return [list(checked) for checked in findings]
    result: list[list[Finding]] = [[], []]
    for pair in zip(*findings):
        sizes = [one.header and geometry.loaded(one.header.width, one.header.height) for one in pair]
        if None not in sizes and sizes[0] != sizes[1]:
            first, second = (f'{one.header.width}x{one.header.height}' for one in pair)
            problem = (
                f'it is {first}, its counterpart {second}, which only --preprocess=resize_and_crop brings to one size'
            )
            pair = dataclasses.replace(pair[0], header=None, problem=problem), pair[1]
        for checked, one in zip(result, pair):
            checked.append(one)
    return result


def _usable(config, opened, findings, console) -> list[list[int]]:
    """The indices of each source's images that can be used; prints the others, or raises an error that lists them."""
    lines = [line for source, checked in zip(opened, findings) for line in inspection.bad_images(source, checked)]
    lines = list(dict.fromkeys(lines))  # the two halves of an aligned image are in the same file
    if config.on_bad_image == 'error':
        inspection.refuse(lines, len(opened[0]) + (len(opened[1]) if opened[1].half is None else 0))
    for line in lines:
        console.line(f'Skipped: {line}')
    kept = [[i for i, finding in enumerate(checked) if finding.problem is None] for checked in findings]
    if opened[0].pairing:  # an image takes its counterpart along
        kept = [sorted(set(kept[0]) & set(kept[1]))] * 2
    for source, indices in zip(opened, kept):
        if not indices:
            raise UserError(f'no image of {source.where} can be used; put others there:\n  ' + '\n  '.join(lines))
    return kept


def _refuse_sizes(config, size_a, size_b) -> None:
    if (size_a is None or size_b is None) and (config.images_per_step != 1 or config.pool_size):
        more = ', and no --accumulate_steps' if config.accumulate_steps > 1 else ''
        raise UserError(
            f'images differ in size with `preprocess` ({config.preprocess}), which requires --batch_size=1 and '
            f'--pool_size=0{more}; set them, or a --preprocess that crops all images to crop_size.'
        )
    if config.mixes_images and (size_a is None or size_a != size_b):
        name, value = config.mixes_images
        raise UserError(
            f'`{name}` ({value}) mixes real and fake images, which requires all of them to have the same size; set '
            f'--preprocess to one that crops all images to crop_size.'
        )


def _warn_of_small_images(config, geometry, headers, console) -> None:
    everything = [header for domain_headers in headers for header in domain_headers]
    small = sum(geometry.enlarges(header.width, header.height) for header in everything)
    if small:
        what = f'crop_size ({config.crop_size})' if geometry.crops else f'what the networks take ({geometry.least})'
        console.line(f'Warning: {small} of {len(everything)} images are smaller than {what} and are enlarged.')


def _shorten(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f'{rest} more images are in both domains'] if rest > 0 else [])]

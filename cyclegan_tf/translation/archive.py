"""Translates an archive of image files: what one worker does with some of them, whoever hands out the work.

An engine, such as Spark or an array of jobs, needs `find` to plan the work and `translate` to do a part of it. Nothing
here knows an engine, and planning needs no TensorFlow.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import re
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Optional, Union

from cyclegan_tf.data.decode import ARRAY_EXTENSIONS, EXTENSIONS
from cyclegan_tf.data.folders import find_images
from cyclegan_tf.data.names import distinct_paths, unique_names
from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime import storage
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.settings.archive import ArchiveConfig
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.settings.translation import TranslateConfig, parse_shard

if TYPE_CHECKING:  # TensorFlow comes with them
    from cyclegan_tf.data.pictures import ReadOptions
    from cyclegan_tf.data.sources import Source
    from cyclegan_tf.translation.exported import ExportedTranslator
    from cyclegan_tf.translation.files import Outcome
    from cyclegan_tf.translation.output import Output
    from cyclegan_tf.translation.translator import Translator

DONE, THERE, FAILED = 'done', 'already there', 'failed'
COUNTERS = (DONE, THERE, FAILED, 'pixels')
FAILURES = 'failures.jsonl'  # in the output folder
_ABOUT = '.translation.json'  # there too: what the results are of

# Settings that change results, besides the model and the direction.
_DETERMINING = (
    'weights', 'resize', 'output_depth', 'color_profile', 'batch_statistics', 'test_dropout', 'eval', 'seed',
    'precision',
)  # fmt: skip
_AT_ONCE = 1024  # files that are looked for at once before they are translated
_ENDINGS = {'png': ('.png',), 'tiff': ('.tif',), 'auto': ('.png', '.tif')}


@dataclasses.dataclass(frozen=True)
class Item:
    """A file to translate.

    Attributes:
        path: a path or a URL.
        name: unique name without ending, on which dropout depends.
        stem: name of its result in the output folder, with subfolders and without ending.
    """

    path: str
    name: str
    stem: str


@dataclasses.dataclass(frozen=True)
class Record:
    """What became of a file.

    Attributes:
        path: of the file.
        outcome: 'done', 'already there' or 'failed'.
        reason: why it failed, in a line that begins with the path; empty unless it did.
        pixels: of the image as it was translated; 0 unless it was.
        seconds: of the worker's time.
    """

    path: str
    outcome: str
    reason: str = ''
    pixels: int = 0
    seconds: float = 0.0


# ------------------------------------------------------------------------------------------------------------ planning
def find(place: str, output: str, arrays: bool = False, argument: str = 'input') -> list[Item]:
    """The images of a place, in the order and with the names that translation.files gives them.

    Args:
        place: a file, a folder with its subfolders, or a pattern in which ** stands for any number of folders; or a
            URL of one.
        output: the output folder; what lies in it is left out, if it lies in the place.
        arrays: whether the files of arrays are images.
        argument: name of the argument that names the place, for messages.

    Raises:
        UserError: there are none, or the output is the place itself.
    """
    paths, folder = _paths(place, arrays, argument)
    inner, outer = _normal(output), _normal(folder)
    if outer == inner:
        raise UserError(f"`output` ('{output}') is the folder of the images themselves; set it to another.")
    if f'{inner}/'.startswith(f'{outer}/') or f'{outer}/'.startswith(f'{inner}/'):
        paths = [path for path in paths if not _normal(path).startswith(f'{inner}/')]
    if not paths:
        raise UserError(f"`{argument}` ('{place}') contains only images that were written to `output`; add images.")
    names = unique_names([os.path.relpath(path, folder) for path in paths])
    return [Item(*three) for three in zip(paths, names, distinct_paths(names))]


def _normal(place: str) -> str:
    """What is equal for places that are spelled otherwise."""
    if place.startswith('file://') or not storage.is_remote(place):
        return os.path.realpath(os.path.expanduser(place.removeprefix('file://')))
    filesystem, root = storage.open_filesystem('input', place)
    return f'{type(filesystem).__name__} {root.rstrip("/")}'


def _paths(place: str, arrays: bool, argument: str) -> tuple[Sequence[str], str]:
    """The paths of the images, sorted, and the folder to which their names are relative. Of a pattern, that is what
    stands before its first sign, so that names do not depend on what else there is."""
    place = place if storage.is_remote(place) else os.path.expanduser(place)
    kind = storage.kind(argument, place)
    if kind == 'folder':
        folder = place.rstrip('/') or '/'
        listing = find_images(folder, arrays, functools.partial(storage.walk, argument))
        if not listing.paths:
            beside = f' ({listing.passed_over})' if listing.passed_over else ''
            raise UserError(f"`{argument}` ('{place}') holds no images{beside}; set it to a folder that does.")
        return listing.paths, folder
    if kind == 'file':
        return [place], os.path.dirname(place) or '.'
    found, folder = storage.glob(argument, place)
    endings = EXTENSIONS + (ARRAY_EXTENSIONS if arrays else ())
    paths = [path for path in found if path.lower().endswith(endings)]
    if not paths:
        raise UserError(
            f"`{argument}` ('{place}') is not a file or folder, and matches no image as a pattern; correct it."
        )
    return paths, folder


def in_shard(items: Sequence[Item], number: int, shards: int) -> list[Item]:
    """The items of one of several shards, which have no item in common and together have all.

    An image's shard depends on its name and their number alone, so that this holds even where images come in between
    the starts of two jobs, unless one of them has the name of another but for its ending.
    """
    return [item for item in items if zlib.crc32(item.name.encode(errors='surrogateescape')) % shards == number]


def takes_arrays(settings: ArchiveConfig) -> bool:
    """Whether files of arrays are images for the model; looks at what can be known of it without TensorFlow.

    Raises:
        UserError: the run does not exist, has no such direction, or needs several images for one result.
    """
    if settings.model_dir is not None:
        if not os.path.isdir(os.path.expanduser(settings.model_dir)):
            raise UserError(f"`model_dir` ('{settings.model_dir}') is no folder; set it to one of cyclegan_tf.export.")
        return False
    config = load_config(pathlib.Path(settings.checkpoints_dir) / settings.name)
    refuse_stacked(config)
    directions = list(config.translating_networks)
    if settings.direction not in (None, *directions):
        raise UserError(
            f"`direction` ('{settings.direction}') is not one of: {', '.join(directions)}, the directions of model "
            f'{config.model} of this run.'
        )
    ranges = dict(zip(config.domains, config.value_ranges.values()))
    return ranges[direction_of(settings)[0]] is not None


def direction_of(settings: ArchiveConfig) -> Optional[str]:
    """The direction that is given, or the run's first; None: an exported model has only one."""
    if settings.model_dir is not None or settings.direction is not None:
        return settings.direction
    return next(iter(load_config(pathlib.Path(settings.checkpoints_dir) / settings.name).translating_networks))


def refuse_stacked(config: Any) -> None:
    """Raises UserError for a run whose networks take the images of several folders at once."""
    if len(config.input_parts) > 1:
        raise UserError(
            f'`input_folders` ({config.input_folders}) of this run stacks the images of several folders, which only '
            f'cyclegan_tf.translate without --shard does.'
        )


def claim(folder: storage.Folder, settings: Any, direction: Optional[str]) -> None:
    """Notes in an output folder what its results are of; what is there is left out, and must be of the same.

    Args:
        folder: for the results.
        settings: TranslateConfig or ArchiveConfig.
        direction: as given or chosen; None: the model's only one.

    Raises:
        UserError: the folder has results of something else, or cannot be written.
    """
    about = {'model': _model(settings), 'direction': direction}
    for name in _DETERMINING:
        about[name] = getattr(settings, name)
    about = json.loads(json.dumps(about))
    if folder.has(_ABOUT):
        found = json.loads(storage.read(folder.path(_ABOUT)))
        other = next((name for name in about if about[name] != found.get(name)), None)
        if other is not None:
            raise UserError(
                f"`output` ('{folder.place}') has results of another {other} ({found.get(other)}, not {about[other]}), "
                f'and results that are there are left out; set it to another folder.'
            )
        return
    with folder.scratch() as scratch:
        (scratch / _ABOUT).write_text(json.dumps(about))
        try:
            folder.put(scratch / _ABOUT, _ABOUT)
        except OSError as error:
            raise UserError(
                f"`output` ('{folder.place}') cannot be written ({error.strerror or first_line(error)}); set it to "
                f'another.'
            ) from error


def _model(settings: Any) -> str:
    """Names a model and the state of its weights, wherever it lies."""
    if getattr(settings, 'model_dir', None) is not None:
        files = sorted(pathlib.Path(settings.model_dir).expanduser().rglob('saved_model.pb'))
        return ' '.join(f'{path.parent.name} {zlib.crc32(path.read_bytes()):08x}' for path in files)
    if settings.epoch not in ('latest', 'best'):
        return f'{settings.name} epoch {settings.epoch}'
    kept = pathlib.Path(settings.checkpoints_dir) / settings.name / settings.epoch / 'checkpoint'
    found = re.search('model_checkpoint_path: "(.*)"', kept.read_text() if kept.is_file() else '')
    return f'{settings.name} {settings.epoch} {found[1] if found else ""}'.strip()


# ----------------------------------------------------------------------------------------------------------- one part
@dataclasses.dataclass(frozen=True)
class Model:
    """What translates.

    Attributes:
        translator: has the weights.
        direction: in which it translates.
        options: how images are read.
        output: how results are stored.
    """

    translator: Union[Translator, ExportedTranslator]
    direction: str
    options: ReadOptions
    output: Output


@functools.lru_cache(maxsize=1)
def load(settings: ArchiveConfig) -> Model:
    """The model of some settings; a process has one, and loads it once.

    Raises:
        UserError: it cannot be loaded, or does not translate so.
    """
    from cyclegan_tf.runs import checkpoints
    from cyclegan_tf.runtime import hardware
    from cyclegan_tf.settings.translation import at_test_time
    from cyclegan_tf.translation import files
    from cyclegan_tf.translation.exported import ExportedTranslator, find_exported
    from cyclegan_tf.translation.output import Output
    from cyclegan_tf.translation.translator import Translator

    hardware.prepare_translation()
    if settings.model_dir is not None:
        found = find_exported(pathlib.Path(settings.model_dir).expanduser())
        if len(found) > 1:
            raise UserError(f"`model_dir` ('{settings.model_dir}') holds {', '.join(found)}; set it to one of them.")
        ((name, folder),) = found.items()
        translator = ExportedTranslator(folder, name)
        options = translator.read_options(settings.color_profile, settings.max_image_pixels)
        return Model(translator, name, options, Output(*settings.output_of(None)))
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config, checkpoint = load_config(run_directory), checkpoints.find(run_directory, settings.epoch)
    precision, slow = hardware.choose_precision(settings.precision, settings.emulate_precision)
    if slow:
        print(slow, file=sys.stderr)
    directions = Translator.directions_of_files(config, checkpoint, settings.direction)
    translator = Translator.from_checkpoint(
        config, checkpoint, settings.max_pixels, precision, directions=directions, **at_test_time(settings)
    )
    if settings.max_pixels is None:  # it takes the machine's memory for its own
        share = min(1, settings.cores_per_worker / (os.cpu_count() or 1))
        translator.max_pixels = max(translator.least_max_pixels, int(translator.max_pixels * share))
    direction = translator.translation(settings.direction).name
    options = files.read_options(settings, translator, [direction])
    return Model(translator, direction, options, Output(*settings.output_of(translator.value_ranges(direction)[1])))


def translate_part(settings: ArchiveConfig, part: int, items: Iterable[Item]) -> Iterator[Record]:
    """`translate` with the settings' model into their output folder; the part's number does not matter."""
    yield from translate(items, load(settings), storage.Folder('output', settings.output), settings)


def translate(items: Iterable[Item], model: Model, folder: storage.Folder, settings: Any) -> Iterator[Record]:
    """Translates files, each of whose results appears as a whole or not at all.

    Results that are there already are left out, so that work that was broken off goes on. Files, depth and profiles are
    those of translation.files, bit for bit if the same images meet in a batch and threads are as many; else values may
    differ by a level, since sums are rounded in another order.

    Args:
        items: the files, consecutive ones of one size if possible, which become a batch.
        model: what translates them.
        folder: for the results.
        settings: with `resized`, `batch_size` and `num_threads` of TranslateConfig or ArchiveConfig.

    Yields:
        A record for each file: first those that are there already, of some thousand files at a time.

    Raises:
        UserError: the folder cannot be written.
        OSError: the same, in the middle of the work.
    """
    items = iter(items)
    while some := list(itertools.islice(items, _AT_ONCE)):
        with ThreadPoolExecutor(settings.num_threads) as pool:
            there = list(pool.map(functools.partial(_is_there, folder, model.output.format), some))
        yield from (Record(item.path, THERE) for item, is_there in zip(some, there) if is_there)
        left = [item for item, is_there in zip(some, there) if not is_there]
        if left:
            yield from _translate(left, model, folder, settings)


def _is_there(folder: storage.Folder, format: str, item: Item) -> bool:
    return any(folder.has(item.stem + ending) for ending in _ENDINGS[format])


def _translate(items: Sequence[Item], model: Model, folder: storage.Folder, settings: Any) -> Iterator[Record]:
    from cyclegan_tf.translation import files

    def put(index, path):
        name = items[index].stem + path.suffix
        try:
            folder.put(path, name)
        except OSError as error:
            return files.problem_of_name(error, items[index].path, pathlib.Path(folder.path(name)))
        return None

    with folder.scratch() as scratch, contextlib.ExitStack() as stack:
        targets = {model.direction: [scratch / str(index) for index in range(len(items))]}
        outcomes = files.translate_each(
            model.translator,
            source_of(items, model.options),
            {model.direction: model.output},
            targets,
            settings.resized,
            settings.batch_size,
            settings.num_threads,
            put,
            shown=False,
        )
        stack.callback(outcomes.close)  # before the folder is deleted, into which its threads write
        before = time.monotonic()
        for one in outcomes:
            now = time.monotonic()
            path, seconds, before = items[one.index].path, now - before, now
            if one.problem is None:
                yield Record(path, DONE, '', one.pixels, seconds)
            else:
                yield Record(path, FAILED, one.problem, 0, seconds)


def translate_shard(settings: TranslateConfig, translator: Translator) -> Outcome:
    """Translates the images of --input that are in the shard of --shard, but for those whose results are there.

    Raises:
        UserError: the images cannot be found or are read differently in both directions, or the folder cannot be
            written.
    """
    from cyclegan_tf.translation import files

    refuse_stacked(translator.config)
    output, counts, problems, started = settings.output, collections.Counter(), [], time.monotonic()
    directions = [None] if settings.direction is None else [one.name for one in translator.choose(settings.direction)]
    for direction in directions:
        direction = translator.translation(direction).name
        options = files.read_options(settings, translator, [direction])
        model = Model(translator, direction, options, files.make_output(settings, translator, direction))
        items = find(settings.input, output, options.raw)[: settings.num_test]
        items = in_shard(items, *parse_shard(settings.shard))
        folder = storage.Folder('output', os.path.join(output, direction) if len(directions) > 1 else output)
        claim(folder, settings, direction)
        records = translate(items, model, folder, settings)
        try:
            for record in progress_bar(records, '', len(items), keep=True):
                counts.update(counts_of(record))
                problems += [record.reason] * is_kept(record)
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise UserError(f"'{folder.place}' can no longer be written ({reason}); correct that.") from error
    print(f'Shard {settings.shard}: {in_words(counts, output, time.monotonic() - started)}')
    return files.Outcome(counts[DONE], problems)


def source_of(items: Sequence[Item], options: ReadOptions) -> Source:
    """The files as what translation reads."""
    from cyclegan_tf.data.image_source import Source, stamp_file

    paths = [item.path for item in items]
    return Source(
        count=len(items),
        where=os.path.dirname(paths[0]) or '.',
        label=paths.__getitem__,
        data=lambda index: storage.read(paths[index]),
        stamp=lambda index: stamp_file(paths[index]),
        path=lambda index: None if storage.is_remote(paths[index]) else paths[index],
        list_names=lambda: [item.name for item in items],
        options=options,
    )


# ------------------------------------------------------------------------------------------------------------- summary
def counts_of(record: Record) -> dict[str, int]:
    """What a record adds to the counters of a run."""
    return {record.outcome: 1, 'pixels': record.pixels}


def is_kept(record: Record) -> bool:
    """Whether the program that hands out the work needs a record: of a file that could not be translated."""
    return record.outcome == FAILED


def write_failures(folder: storage.Folder, failures: Sequence[Record]) -> None:
    """Writes failures.jsonl into a folder, an object with path and reason for each; empty if there are none.

    Raises:
        UserError, OSError: it cannot be written.
    """
    with folder.scratch() as scratch:
        path = scratch / FAILURES
        lines = (json.dumps({'path': one.path, 'reason': one.reason}) + '\n' for one in failures)
        path.write_text(''.join(lines), encoding='utf-8')
        folder.put(path, FAILURES)


def in_words(counts: Mapping[str, int], output: str, seconds: float) -> str:
    """The counters of a run in a sentence."""
    done, there, failed = (counts.get(name, 0) for name in (DONE, THERE, FAILED))
    said = [f'Wrote {count(done, "picture")} to {output}']
    if there:
        said.append(f'{there:,} {"was" if there == 1 else "were"} there already')
    if failed:
        said.append(f'{count(failed, "image")} could not be translated')
    rate = f' {counts.get("pixels", 0) / 1e6:,.1f} million pixels in {seconds:,.0f} s.' if done else ''
    return '; '.join(said) + '.' + rate

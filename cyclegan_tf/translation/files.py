"""Translates image files of any size and kind: reading, translating and writing run in parallel."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import functools
import itertools
import os
import pathlib
import struct
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Optional, Union

import numpy as np

from cyclegan_tf.data import decode, profiles, sources, training_data
from cyclegan_tf.data.channels import require_channels, set_channels
from cyclegan_tf.data.levels import to_float, values_to_float
from cyclegan_tf.data.names import distinct_paths
from cyclegan_tf.data.pictures import Metadata, ReadOptions, resized
from cyclegan_tf.data.preprocess import resize
from cyclegan_tf.data.tiff import NotInRows, Rows
from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.runtime.files import make_folder
from cyclegan_tf.runtime.hardware import MOST_PER_BATCH, images_per_batch
from cyclegan_tf.runtime.threads import map_ahead
from cyclegan_tf.settings.translation import TranslateConfig
from cyclegan_tf.translation.output import Output, write_png, write_tiff, write_tiff_by_rows
from cyclegan_tf.translation.translator import Translator, with_channels

# Errors that are caused by a picture's name, not by the folder or the disk.
_OF_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)

_LARGE = 2**26  # pixels; TIFFs with more are translated row by row where they can be read so
_MOST_COMPRESSED = 64  # pixels in a byte of a large TIFF; one that is compressed further is decoded as a whole
_AHEAD = 3  # number of batches that are read ahead, and that may wait to be written


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome for the files: number of pictures written, and a line for each file that could not be used."""

    written: int
    problems: Sequence[str]

    @property
    def lines(self) -> list[str]:
        """The problems, each on a line."""
        return [f'Skipped: {line}' for line in self.problems]

    @property
    def complaint(self) -> str:
        """The problems in a sentence."""
        others = '; all others were' if self.written else ''
        return f'{count(len(self.problems), "image")} could not be translated, see above{others}.'


def translate_input(settings: TranslateConfig, translator: Translator) -> Outcome:
    """Translates the files of --input."""
    first = translator.translation() if settings.direction is None else None
    directions = [one.name for one in ([first] if first else translator.choose(settings.direction))]
    outputs = {name: make_output(settings, translator, name) for name in directions}
    source = open_input(settings, translator, directions)
    for line in source.notes:
        print(line, file=sys.stderr)
    if settings.num_test is not None:
        source = source.select(range(min(settings.num_test, len(source))))
    output = pathlib.Path(
        settings.output or pathlib.Path(settings.results_dir) / settings.name / f'files_{settings.epoch}'
    )
    if not source.parts:
        source = leave_out_results(source, settings.input, output)
    refuse_overwriting(source, plan(source, directions, output), output, settings.output_format)
    make_folder('output' if settings.output else 'results_dir', settings.output or settings.results_dir, output)
    try:
        outcome = translate_files(
            translator,
            source,
            outputs,
            output,
            settings.resized,
            settings.batch_size,
            settings.num_threads,
        )
    except OSError as error:
        raise UserError(f"'{output}' can no longer be written ({error.strerror}); correct that and repeat.") from error
    print(f'Wrote {count(outcome.written, "picture")} to {output} ({", ".join(directions)}).')
    return outcome


def open_input(settings: TranslateConfig, translator: Translator, directions: Sequence[str]) -> sources.Source:
    """The images of --input; for a run of several input folders, those of as many places, stacked.

    Raises:
        UserError: there are no such files; or the places are not as many as the run's input folders.
    """
    options, parts = read_options(settings, translator, directions), translator.config.input_parts
    if len(parts) == 1:
        return sources.open_files(settings.input, options)
    places = settings.input.split(',')
    if len(places) != len(parts):
        raise UserError(
            f"`input` ('{settings.input}') is not {len(parts)} places separated by commas, one for each folder of this "
            f"run's input_folders ({translator.config.input_folders}); give as many."
        )
    return sources.open_stacked_files(places, options, [count for _, count in parts])


def make_output(settings: TranslateConfig, translator: Translator, direction: str) -> Output:
    """How a direction's results are stored; raises UserError if that is not possible."""
    return Output(settings.output_depth, settings.output_format, translator.value_ranges(direction)[1])


def read_options(settings: TranslateConfig, translator: Translator, directions: Sequence[str]) -> ReadOptions:
    """How images are read that are translated in these directions.

    Raises:
        UserError: the directions read images differently.
    """
    of_directions = [translator.translation(name) for name in directions]
    options = training_data.read_options(translator.config)
    ranges = {options[one.source].value_range for one in of_directions}
    if len(ranges) > 1:
        raise UserError('`direction` (both) needs images of one range of values, but this run has two; set it to one.')
    of_first = options[of_directions[0].source]
    return dataclasses.replace(
        of_first,
        channels=tuple(dict.fromkeys(one.channels[0] for one in of_directions)),
        max_pixels=settings.max_image_pixels or of_first.max_pixels,
        kept_profile=profiles.kept(
            settings.color_profile, [one.channels[1] for one in of_directions], of_first.value_range
        ),
    )


def leave_out_results(source: sources.Source, place: str, output: pathlib.Path) -> sources.Source:
    """The source without the images in the output folder, if that lies within the input folder."""
    folder, inner = (os.path.realpath(os.path.expanduser(path)) for path in (place, output))
    if inner == folder or os.path.commonpath([folder, inner]) != folder:
        return source
    labels = [os.path.realpath(source.label(index)) for index in range(len(source))]
    kept = [index for index, label in enumerate(labels) if os.path.commonpath([label, inner]) != inner]
    if not kept:
        raise UserError(f"`input` ('{place}') contains only images that were written to `output`; add images.")
    return source.select(kept)


def refuse_overwriting(
    source: sources.Source, targets: Mapping[str, Sequence[pathlib.Path]], output: pathlib.Path, format: str
) -> None:
    """Raises UserError if a picture would overwrite an image that is read; as a TIFF, only if all become one."""
    read = _paths_read(source)
    for stem in itertools.chain.from_iterable(targets.values()):
        path = _with_ending(stem, '.tif' if format == 'tiff' else '.png')
        if os.path.realpath(path) in read:
            raise UserError(f"`output` ('{output}') would overwrite '{path}', an input; set it to another folder.")


def _paths_read(source: sources.Source) -> set[str]:
    """The real paths of all files that are read, also of those that are stacked."""
    parts = source.parts or (source,)
    return {os.path.realpath(part.label(index)) for part in parts for index in range(len(part))}


def translate_files(
    translator: Translator,
    source: sources.Source,
    outputs: Mapping[str, Output],
    output: pathlib.Path,
    size: Optional[tuple[int, int]] = None,
    batch_size: Optional[int] = None,
    threads: int = 2,
) -> Outcome:
    """Translates every image and writes the result immediately, with the image's name.

    Args:
        translator: the run's translator.
        source: the images.
        outputs: 'AtoB', 'BtoA' or both -> how their results are stored; with both, each has its own folder.
        output: output folder, created if necessary; it gets the subfolders of the input.
        size: (width, height) to which images are resized first; None: they are not resized.
        batch_size: maximum number of images, all of one size, that are translated at once; None: as suits the device.
        threads: number of threads that read, and of threads that write.
    """
    targets, problems, written = plan(source, list(outputs), output), [], 0
    for one in translate_each(translator, source, outputs, targets, size, batch_size, threads):
        if one.problem is None:
            written += 1
        else:
            problems.append(one.problem)
    return Outcome(written, problems)


@dataclasses.dataclass(frozen=True)
class Translated:
    """What became of an image.

    Attributes:
        index: of the image in its source.
        problem: a line that says why there is no result; None: it was written.
        pixels: of the image as it was translated; 0 if it could not be read.
    """

    index: int
    problem: Optional[str]
    pixels: int


def translate_each(
    translator: Translator,
    source: sources.Source,
    outputs: Mapping[str, Output],
    targets: Mapping[str, Sequence[pathlib.Path]],
    size: Optional[tuple[int, int]] = None,
    batch_size: Optional[int] = None,
    threads: int = 2,
    put: Callable[[int, pathlib.Path], Optional[str]] = lambda index, path: None,
    shown: bool = True,
) -> Iterator[Translated]:
    """As translate_files, and tells of each image what became of it.

    Args:
        translator, source, outputs, size, batch_size, threads: as for translate_files.
        targets: direction -> the paths of its pictures without their endings, see `plan`.
        put: called with the index of an image and the path of its picture when that is written, by the threads that
            write; returns the problem if there was one.
        shown: whether a terminal shows a bar.

    Yields:
        In the order of the images; with two directions twice for each, but once for one that cannot be read.
    """
    directions = list(outputs)
    wanted = {translator.translation(direction).channels[0] for direction in directions}
    read = _paths_read(source)
    bar = progress_bar(total=len(source) * len(directions), keep=True, shown=shown)
    pool = concurrent.futures.ThreadPoolExecutor
    with pool(threads) as readers, pool(threads) as writers, bar:

        def results():
            # An image that is read row by row is read once for each direction, so only a single one is.
            may_be_rows = (
                size is None
                and len(outputs) == 1
                and all(one.format != 'png' for one in outputs.values())
                and isinstance(translator, Translator)
            )
            batches = _batches(source, size, wanted, translator.max_pixels, batch_size, readers, threads, may_be_rows)
            for indices, images in batches:
                if isinstance(images, decode.BadImage):
                    yield _known(Translated(indices[0], f'{source.label(indices[0])}: {images}', 0))
                    bar.update(len(directions))
                    continue
                for direction in directions:
                    names = [source.names[index] for index in indices]
                    try:
                        translated = list(_translate(translator, images, direction, outputs[direction], names))
                    except UserError as error:  # such as an image that is too large for an exported model
                        for index in indices:
                            yield _known(Translated(index, f'{source.label(index)}: {error}', 0))
                        bar.update(len(indices))
                        continue
                    for index, result in zip(indices, translated):
                        write = functools.partial(finish, index, direction, result)
                        if isinstance(images, Rows):
                            # Its tiles are translated while it is written, and only one image's at a time can be.
                            write = _known(write())
                        yield write
                    bar.update(len(indices))

        def finish(index, direction, result):
            height, width, _ = result.shape
            put_it = functools.partial(put, index)
            problem = _write(targets[direction][index], result, source.label(index), read, put_it)
            return Translated(index, problem, height * width)

        yield from map_ahead(lambda write: write(), results(), writers, _AHEAD * (batch_size or MOST_PER_BATCH))


def _known(outcome: Translated) -> Callable[[], Translated]:
    """What writes nothing more."""
    return lambda: outcome


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """An image that has been read: uint8, uint16, or float32 in [-1, 1], [h, w, c]; and what else its file says."""

    array: np.ndarray
    metadata: Metadata


@dataclasses.dataclass(frozen=True)
class _Result:
    """A result to write: values, [h, w, c], or parts of some rows each, with the shape that all of them have."""

    output: Output
    values: Union[np.ndarray, Iterator[np.ndarray]]
    shape: tuple[int, int, int]
    dtype: np.dtype
    metadata: Metadata
    close: Callable[[], None] = lambda: None


def _translate(
    translator: Translator,
    images: Union[Sequence[_Loaded], Rows],
    direction: str,
    output: Output,
    names: Sequence[str],
) -> Iterator[_Result]:
    """Translates a batch, or one large image."""
    if isinstance(images, Rows):
        yield _translate_rows(translator, images, direction, output, names[0])
        return
    channels_in, channels_out = translator.translation(direction).channels
    arrays = np.stack([one.array for one in images])
    pictures = translator.translate_floats(to_float(with_channels(arrays, channels_in)), direction, names)
    for one, picture in zip(images, pictures):
        metadata = one.metadata
        if _keeps_alpha(translator, direction, metadata):
            picture = np.concatenate([picture, to_float(one.array[..., -1:])], axis=-1)
        else:
            # The last of two or four channels is alpha, unless the image has other bands.
            has_alpha = channels_out in (2, 4) and not metadata.has_bands
            metadata = dataclasses.replace(metadata, has_alpha=has_alpha)
        dtype = output.dtype(metadata.dtype)
        yield _Result(output, output.values(picture, dtype), picture.shape, dtype, metadata)


def _keeps_alpha(translator: Translator, direction: str, metadata: Metadata) -> bool:
    """Whether an image's alpha is that of its translation: the networks know only gray or colour, in levels."""
    channels = translator.translation(direction).channels
    return metadata.has_alpha and {*channels} <= {1, 3} and translator.value_ranges(direction) == (None, None)


def _translate_rows(translator: Translator, image: Rows, direction: str, output: Output, name: str) -> _Result:
    """Translates an image of which only some rows are in memory at a time."""
    channels_in, channels_out = translator.translation(direction).channels
    range_in, _ = translator.value_ranges(direction)
    dtype, keeps_alpha = output.dtype(image.metadata.dtype), _keeps_alpha(translator, direction, image.metadata)
    shape = (image.height, image.width, channels_out + keeps_alpha)

    def read(first, last):
        rows = image.read(first, last)
        rows = rows if range_in is None else values_to_float(rows, range_in)
        return to_float(set_channels(rows, channels_in))

    def results():
        top = 0
        for rows in translator.translate_rows(read, image.height, image.width, direction, name):
            if keeps_alpha:
                alpha = to_float(image.read(top, top + len(rows))[..., -1:])
                rows = np.concatenate([rows, alpha], axis=-1)
            top += len(rows)
            yield output.values(rows, dtype)

    metadata = dataclasses.replace(image.metadata, has_alpha=image.metadata.has_alpha and shape[-1] in (2, 4))
    return _Result(output, results(), shape, dtype, metadata, image.close)


def plan(source: sources.Source, directions: Sequence[str], output: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The paths of each direction's pictures without their endings, one for each image; with several directions, each
    has a folder."""
    names = distinct_paths(source.names)
    folders = {direction: output / direction if len(directions) > 1 else output for direction in directions}
    return {direction: [folder / name for name in names] for direction, folder in folders.items()}


def _with_ending(stem: pathlib.Path, ending: str) -> pathlib.Path:
    """A path with an ending; pathlib's with_suffix would replace what follows a dot in a name."""
    return stem.with_name(stem.name + ending)


def _write(
    stem: pathlib.Path,
    result: _Result,
    label: str,
    read: Collection[str],
    put: Callable[[pathlib.Path], Optional[str]],
) -> Optional[str]:
    """Writes a picture and calls `put`; returns the problem if only this picture causes it."""
    output, of_result = result.output, (result.dtype, result.shape[-1], result.metadata.has_alpha)
    is_png = output.is_png(*of_result) and isinstance(result.values, np.ndarray)
    path = _with_ending(stem, '.png' if is_png else '.tif')
    try:
        if output.format == 'png' and not is_png:
            return f'{label}: {output.refusal(*of_result)}'
        if os.path.realpath(path) in read:
            return f"{label}: '{path}' is an image that is read; set `output` to another folder"
        if is_png:
            write_png(path, result.values, result.metadata)
        elif isinstance(result.values, np.ndarray):
            write_tiff(path, result.values, result.metadata)
        else:
            write_tiff_by_rows(path, result.values, result.shape, result.dtype, result.metadata)
    except OSError as error:
        return problem_of_name(error, label, path)
    except (ValueError, TypeError, struct.error) as error:  # a damaged image that is read row by row, or odd metadata
        return f'{label}: {first_line(error)}'
    finally:
        result.close()
    return put(path)


def problem_of_name(error: OSError, label: str, path: pathlib.Path) -> str:
    """The problem if only the picture's name causes an error; any other error is raised again."""
    if error.errno not in _OF_NAMES:
        raise error
    return f"{label}: '{path}' cannot be written ({error.strerror})"


def _batches(
    source, size, wanted, max_pixels, batch_size, readers, threads, may_be_rows
) -> Iterator[tuple[list[int], Union[Sequence[_Loaded], Rows, decode.BadImage]]]:
    """Batches of consecutive images of one shape and type: their indices, and the images, or one large image or the
    reason why one cannot be used."""

    def read(index):
        try:
            rows = _open_rows(source, index) if may_be_rows else None
            if rows is not None:
                channels, height, width = rows.channels, rows.height, rows.width
            else:
                picture, metadata = source.picture_with_metadata(index)
                height, width = decode.to_array(picture).shape[:2]
                # Fails here rather than in the middle of a batch.
                array = decode.to_array(resize(picture, *size) if size else picture)
                channels = array.shape[-1]
            for count_wanted in wanted:
                require_channels(channels, count_wanted)
            if rows is not None:
                return rows
            factors = (size[0] / width, size[1] / height) if size else (1, 1)
            return _Loaded(array, resized(metadata, factors))
        except decode.BadImage as error:
            return error

    indices, images, kind = [], [], None
    ahead = _AHEAD * max(batch_size or MOST_PER_BATCH, threads)
    for index, image in enumerate(map_ahead(read, range(len(source)), readers, ahead)):
        alone = not isinstance(image, _Loaded)
        if not alone:
            (height, width, _), own_kind = image.array.shape, (image.array.shape, image.array.dtype)
            limit = max(1, min(batch_size or images_per_batch(height * width), max_pixels // (height * width)))
        if indices and (alone or own_kind != kind or len(indices) >= limit):
            yield indices, images
            indices, images = [], []
        if alone:
            yield [index], image
        else:
            kind = own_kind
            indices.append(index)
            images.append(image)
    if indices:
        yield indices, images


def _open_rows(source: sources.Source, index: int) -> Optional[Rows]:
    """A large TIFF that can be read row by row; None for all other images."""
    path = source.path(index)
    if path is None or not path.lower().endswith(('.tif', '.tiff')):
        return None
    try:
        if os.path.getsize(path) < _LARGE // _MOST_COMPRESSED:
            return None  # most files are small, and their pages need not be looked at twice
        rows = Rows(path, source.options, _LARGE)
    except (NotInRows, OSError):
        return None  # the usual way reads it, or says why it cannot be read
    except decode.BadImage:
        raise
    except Exception:  # tifffile raises anything on a damaged file; the usual way makes a sentence of it
        return None
    return rows

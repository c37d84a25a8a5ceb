"""Translates image files of any size and kind: reading, translating and writing run in parallel."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import itertools
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional

import imagecodecs
import numpy as np

from cyclegan_tf.data import decode, sources
from cyclegan_tf.data.channels import require_channels
from cyclegan_tf.data.preprocess import resize
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.runtime.files import make_folder, write_whole
from cyclegan_tf.runtime.threads import map_ahead
from cyclegan_tf.settings.translation import TranslateConfig
from cyclegan_tf.translation.translator import Translator

# Errors that are caused by a picture's name, not by the folder or the disk.
_OF_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)

_AHEAD = 3  # number of batches that are read ahead, and that may wait to be written


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome for the files: number of pictures written, and a line for each file that could not be used."""

    written: int
    problems: Sequence[str]


def translate_input(settings: TranslateConfig, translator: Translator) -> Sequence[str]:
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
    refuse_overwriting(source, plan(source, directions, output), output)
    make_folder('output' if settings.output else 'results_dir', settings.output or settings.results_dir, output)
    try:
        outcome = translate_files(
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
        raise UserError(f"'{output}' can no longer be written ({error.strerror}); correct that and repeat.") from error
    print(f'Wrote {count(outcome.written, "picture")} to {output} ({", ".join(directions)}).')
    return outcome.problems


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
    source: sources.Source, targets: Mapping[str, Sequence[pathlib.Path]], output: pathlib.Path
) -> None:
    """Raises UserError if a picture would overwrite an image that is read."""
    read = {os.path.realpath(source.label(index)) for index in range(len(source))}
    for path in itertools.chain.from_iterable(targets.values()):
        if os.path.realpath(path) in read:
            raise UserError(f"`output` ('{output}') would overwrite '{path}', an input; set it to another folder.")


def translate_files(
    translator: Translator,
    source: sources.Source,
    directions: Sequence[str],
    output: pathlib.Path,
    size: Optional[tuple[int, int]] = None,
    depth: str = 'auto',
    batch_size: int = 8,
    threads: int = 2,
) -> Outcome:
    """Translates every image and writes the result immediately, as a PNG with the image's name.

    Args:
        translator: the run's translator.
        source: the images.
        directions: 'AtoB', 'BtoA' or both; with both, each has its own folder.
        output: output folder, created if necessary; it gets the subfolders of the input.
        size: (width, height) to which images are resized first; None: they are not resized.
        depth: bits of the pictures, '8' or '16'; 'auto': as many as the image has.
        batch_size: maximum number of images, all of one size, that are translated at once.
        threads: number of threads that read, and of threads that write.

    Raises:
        UserError: as check_channels.
    """
    channels = [translator.translation(direction).channels for direction in directions]
    check_channels(translator, {channels_out for _, channels_out in channels})
    wanted = {channels_in for channels_in, _ in channels}
    targets, problems = plan(source, directions, output), []
    bar = progress_bar(total=len(source) * len(directions), keep=True)
    pool = concurrent.futures.ThreadPoolExecutor
    with pool(threads) as readers, pool(threads) as writers, bar:

        def pictures():
            for indices, images in _batches(source, size, wanted, translator.max_pixels, batch_size, readers, threads):
                if isinstance(images, decode.BadImage):
                    problems.append(f'{source.label(indices[0])}: {images}')
                    bar.update(len(directions))
                    continue
                for direction in directions:
                    results = translator.translate(images, direction, choose_dtype(depth, images.dtype))
                    for index, result in zip(indices, results):
                        yield targets[direction][index], result, source.label(index)
                    bar.update(len(indices))

        finished = list(map_ahead(lambda one: _write(*one), pictures(), writers, _AHEAD * batch_size))
    problems += [problem for problem in finished if problem is not None]
    return Outcome(finished.count(None), problems)


def choose_dtype(depth: str, found: np.dtype) -> np.dtype:
    """The dtype of pictures with a depth: '8', '16' or 'auto', as in the image that was found."""
    return {'auto': found, '8': np.dtype(np.uint8), '16': np.dtype(np.uint16)}[depth]


def check_channels(translator: Translator, counts: Collection[int]) -> None:
    """Raises UserError if the run's images have more channels than a picture can, and that number is in `counts`."""
    for name in ('input_nc', 'output_nc'):
        channels = getattr(translator.config, name)
        if channels > 4 and channels in counts:
            raise UserError(
                f'`{name}` ({channels}) of this run exceeds 4, the most channels that a PNG can have; translate in '
                f'Python, with cyclegan_tf.load.'
            )


def plan(source: sources.Source, directions: Sequence[str], output: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The paths of each direction's pictures, one for each image; with several directions, each has a folder."""
    names = _paths(source.names)
    folders = {direction: output / direction if len(directions) > 1 else output for direction in directions}
    return {direction: [folder / f'{name}.png' for name in names] for direction, folder in folders.items()}


def _write(path: pathlib.Path, picture: np.ndarray, label: str) -> Optional[str]:
    """Writes a picture; returns the problem if only this picture's name causes it."""
    try:
        write_png(path, picture)
    except OSError as error:
        if error.errno not in _OF_NAMES:
            raise
        return f"{label}: '{path}' cannot be written ({error.strerror})"
    return None


def _batches(source, size, wanted, max_pixels, batch_size, readers, threads) -> Iterator[tuple[list[int], object]]:
    """Batches of consecutive images of one shape and depth: indices, and uint8 or uint16 [n, h, w, c] or a BadImage."""

    def read(index):
        try:
            picture = source.picture(index)
            # Fails here rather than in the middle of a batch.
            array = decode.to_array(resize(picture, *size) if size else picture)
            for channels in wanted:
                require_channels(array.shape[-1], channels)
            return array
        except decode.BadImage as error:
            return error

    indices, images = [], []
    ahead = _AHEAD * max(batch_size, threads)
    for index, image in enumerate(map_ahead(read, range(len(source)), readers, ahead)):
        bad = isinstance(image, decode.BadImage)
        limit = 1 if bad else max(1, min(batch_size, max_pixels // (image.shape[0] * image.shape[1])))
        differs = indices and (bad or image.shape != images[0].shape or image.dtype != images[0].dtype)
        if indices and (differs or len(indices) >= limit):
            yield indices, np.stack(images)
            indices, images = [], []
        if bad:
            yield [index], image
        else:
            indices.append(index)
            images.append(image)
    if indices:
        yield indices, np.stack(images)


def _paths(names: Sequence[str]) -> list[str]:
    """Names as paths of PNGs without suffix. No two are equal, even if upper and lower case are, and none is the folder
    of another."""
    folders = {str(parent).lower() for name in names for parent in pathlib.PurePosixPath(name).parents}
    taken = {folder.removesuffix('.png') for folder in folders if folder.endswith('.png')}
    paths = []
    for name in names:
        path, number = name, 1
        while path.lower() in taken:
            number += 1
            path = f'{name}_{number}'
        taken.add(path.lower())
        paths.append(path)
    return paths


def write_png(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes uint8 or uint16 [h, w, c], c from 1 to 4, atomically."""
    picture = np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    write_whole(path, imagecodecs.png_encode(picture))

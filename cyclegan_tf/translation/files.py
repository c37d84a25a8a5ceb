"""Translates image files of any size and kind: reading, network and writing at the same time."""

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

# What is wrong with a picture's name and not with the folder or the disk.
_OF_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)

_AHEAD = 3  # batches that are read ahead, and that wait to be written


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the files: how many pictures were written, and a line for each file that could not be used."""

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
    """Translates every image and writes it as PNG at once, under its name.

    Args:
        translator: of the run.
        source: the images.
        directions: 'AtoB', 'BtoA' or both; with both, each has a folder of its own.
        output: the folder; made if need be. Subfolders are kept.
        size: (width, height) to which images are resized first; None: they stay as they are.
        depth: bits of the pictures, '8' or '16'; 'auto': as many as the image had.
        batch_size: images of one size that are translated at once, at most.
        threads: that read, and that write.

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
    """Of the pictures of a depth, '8', '16' or 'auto': as the image that was found."""
    return {'auto': found, '8': np.dtype(np.uint8), '16': np.dtype(np.uint16)}[depth]


def check_channels(translator: Translator, counts: Collection[int]) -> None:
    """Raises UserError if these counts of channels, of the run's images, are more than a picture can have."""
    for name in ('input_nc', 'output_nc'):
        channels = getattr(translator.config, name)
        if channels > 4 and channels in counts:
            raise UserError(
                f'`{name}` ({channels}) of this run is more channels than a PNG can have, which is 4; translate in '
                f'Python, with cyclegan_tf.load.'
            )


def plan(source: sources.Source, directions: Sequence[str], output: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Where the pictures of each direction go, one for each image; with several directions, each has a folder."""
    names = _paths(source.names)
    folders = {direction: output / direction if len(directions) > 1 else output for direction in directions}
    return {direction: [folder / f'{name}.png' for name in names] for direction, folder in folders.items()}


def _write(path: pathlib.Path, picture: np.ndarray, label: str) -> Optional[str]:
    """Writes a picture; returns the problem, if it is one of this picture's name alone."""
    try:
        write_png(path, picture)
    except OSError as error:
        if error.errno not in _OF_NAMES:
            raise
        return f"{label}: '{path}' cannot be written ({error.strerror})"
    return None


def _batches(source, size, wanted, max_pixels, batch_size, readers, threads) -> Iterator[tuple[list[int], object]]:
    """Runs of images of one shape and depth, in order: indices, and uint8 or uint16 [n, h, w, c] or a BadImage."""

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
        most = 1 if bad else max(1, min(batch_size, max_pixels // (image.shape[0] * image.shape[1])))
        differs = indices and (bad or image.shape != images[0].shape or image.dtype != images[0].dtype)
        if indices and (differs or len(indices) >= most):
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
    """Names as paths of PNGs without suffix, no two of them the same, also not where letters' case does not count, and
    none of them another one's folder."""
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
    """Writes uint8 or uint16 [h, w, c], c from 1 to 4, whole or not at all."""
    picture = np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    write_whole(path, imagecodecs.png_encode(picture))

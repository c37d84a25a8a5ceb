"""Translates the files that are dropped on the page, and makes the pictures that it shows."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Optional

import numpy as np
from PIL import Image

from cyclegan_tf.data import decode, sources
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.levels import to_float, to_uint8
from cyclegan_tf.data.pictures import Metadata, Picture, ReadOptions
from cyclegan_tf.data.training_data import open_sources
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import count
from cyclegan_tf.settings.training import Config
from cyclegan_tf.translation import files
from cyclegan_tf.translation.output import write_png, write_tiff
from cyclegan_tf.web.models import Loaded

GONE = 'The picture is no longer there; drop it again.'

_SHOWN = 1600  # pixels; the longer side of a picture that is shown is at most this long
_SMALL = 512  # pixels; one whose longer side goes into it more than once is enlarged that many times, without blur
_THUMBNAIL = 160  # pixels; the longer side of an example


def translate(loaded: Loaded, path: str, direction: str, folder: pathlib.Path) -> pathlib.Path:
    """Translates a file as cyclegan_tf.translate does, with its depth, colours and size, into a folder.

    Returns:
        The result, which has the file's name.

    Raises:
        UserError: it cannot be translated; the message names the file without its folder.
    """
    source = _open(path, loaded.options(direction))
    with loaded.lock, loaded.out_of_memory_named():
        outcome = files.translate_files(loaded.translator, source, {direction: loaded.output(direction)}, folder)
    if outcome.problems:
        raise UserError(outcome.problems[0].replace(path, os.path.basename(path)))
    [stem] = files.plan(source, [direction], folder)[direction]
    return next(
        found for found in (stem.with_name(stem.name + ending) for ending in ('.png', '.tif')) if found.exists()
    )


def preview(path: os.PathLike, options: ReadOptions) -> Image.Image:
    """An image file as it is shown in browsers, with 8 bits, at most 1600 pixels a side, and small ones enlarged.

    Raises:
        UserError: it cannot be read.
    """
    source = _open(os.fspath(path), options)
    try:
        picture, metadata = source.picture_with_metadata(0)
    except decode.BadImage as error:
        raise UserError(f'{os.path.basename(path)}: {error}') from error
    shown, longest = _to_pillow(picture, metadata), max(_to_array(picture).shape[:2])
    if longest > _SHOWN:
        shown.thumbnail((_SHOWN, _SHOWN), Image.LANCZOS)
    elif longest * 2 <= _SMALL:
        factor = _SMALL // longest
        shown = shown.resize((shown.width * factor, shown.height * factor), Image.NEAREST)
    return shown


def save(picture: Image.Image, stem: pathlib.Path) -> pathlib.Path:
    """Writes what `preview` made, with its colour profile; Gradio's own files have none. Returns the file."""
    is_png = max(picture.size) <= _SMALL or picture.mode in ('LA', 'RGBA')
    file = stem.with_name(f'{stem.name}.{"png" if is_png else "jpg"}')
    picture.save(file, quality=92, icc_profile=picture.info.get('icc_profile'))
    return file


def _open(path: str, options: ReadOptions) -> Source:
    """One file: a path with * in it would be a pattern, and a folder all that is in it."""
    if not os.path.isfile(path):
        raise UserError(GONE)
    return sources.open_files(path, options)


class Examples:
    """Test images of a run that can be chosen on the page, for each domain.

    Args:
        config: the run's settings.
        most: maximum number of images of each domain; 0: none.
    """

    def __init__(self, config: Config, most: int):
        self.config, self._most = config, most
        self._thumbnails: dict[str, list[tuple[int, Image.Image]]] = {}  # with the images' indices
        self._reasons: dict[str, str] = {}  # why the last image that was left out was, for each domain
        self._open()

    def _open(self) -> None:
        sources, self._refused = (), None
        if self._most:
            try:
                sources = open_sources(self.config, 'test', self._most)
            except UserError as error:
                self._refused = str(error)
        self._of_domain = dict(zip(self.config.domains, sources))

    def thumbnails(self, domain: str) -> list[tuple[Image.Image, str]]:
        """Small pictures with the images' names; those that cannot be read are left out, see `problem`."""
        if not self._thumbnails.get(domain):  # not kept if there were none: their disk may come back
            if self._refused is not None:
                self._open()
            self._thumbnails[domain] = list(self._make_thumbnails(domain))
        return [(picture, self._of_domain[domain].names[index]) for index, picture in self._thumbnails[domain]]

    def problem(self, domain: str) -> Optional[str]:
        """Why `thumbnails` has none although some were asked for, such as a folder that is no longer there; or None."""
        if self._refused is not None or domain not in self._reasons or self._thumbnails.get(domain):
            return self._refused
        return f'none of {count(len(self._of_domain[domain]), "test image")} can be read; {self._reasons[domain]}.'

    def _make_thumbnails(self, domain: str) -> Iterator[tuple[int, Image.Image]]:
        source = self._of_domain.get(domain)
        for index in range(0 if source is None else len(source)):
            try:
                shown = _to_pillow(*source.picture_with_metadata(index))
            except decode.BadImage as error:
                self._reasons[domain] = f'{source.label(index)}: {error}'
                continue
            shown.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.LANCZOS)
            yield index, shown

    def file(self, domain: str, number: int, folder: pathlib.Path) -> pathlib.Path:
        """A file, in `folder`, of the image with a number among the thumbnails.

        Raises:
            UserError: the image can no longer be read, or is part of a file that cannot be shown.
        """
        if not 0 <= number < len(self.thumbnails(domain)):
            raise UserError(GONE)
        source, (index, _) = self._of_domain[domain], self._thumbnails[domain][number]
        stem = folder / source.names[index].replace('/', '_')
        path = source.path(index)
        try:
            if path is not None and source.half is None and not source.parts:
                copy = stem.with_name(stem.name + os.path.splitext(path)[1])
                copy.write_bytes(source.read(index))
                return copy
            picture, metadata = source.picture_with_metadata(index)
        except decode.BadImage as error:  # the thumbnail is older
            raise UserError(f'{source.label(index)}: {error}; choose another picture.') from error
        array = _to_array(picture)
        if array.dtype == np.float32:  # of a range of values, which is stored as it is read
            raise UserError(f'{source.names[index]} is part of another file; translate it with cyclegan_tf.translate.')
        is_png = array.shape[-1] in (1, 3) or (metadata.has_alpha and array.shape[-1] in (2, 4))
        copy = stem.with_name(f'{stem.name}.{"png" if is_png else "tif"}')
        (write_png if is_png else write_tiff)(copy, array, metadata)
        return copy


def _to_array(picture: Picture) -> np.ndarray:
    return decode.to_array(picture)


def _to_pillow(picture: Picture, metadata: Metadata) -> Image.Image:
    """A picture of 8 bits, of which browsers can show all channels: gray or colour, with alpha where it has that."""
    array = _to_array(picture)
    if array.dtype != np.uint8:
        array = to_uint8(to_float(array))
    channels = array.shape[-1]
    if not (metadata.has_alpha and channels in (2, 4)):
        array = array[..., : 3 if channels >= 3 else 1]
    shown = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    if metadata.icc_profile:
        shown.info['icc_profile'] = metadata.icc_profile
    return shown

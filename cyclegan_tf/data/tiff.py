"""TIFFs of every kind: which of their pages and samples make up the image, its pixels, and windows of large ones."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy as np
import tifffile
from PIL import Image

from cyclegan_tf.data import profiles
from cyclegan_tf.data.pictures import (
    ORIENTATION,
    BadImage,
    Header,
    Metadata,
    Picture,
    ReadOptions,
    check_finite,
    fill_range,
    kind_of,
    limit_pixels,
    open_with_pillow,
    require_levels,
    turn,
    turned,
    upright,
)

# Whatever tifffile says of a damaged file becomes our own sentence; where a program asks for logs, they reach it.
logging.getLogger('tifffile').addHandler(logging.NullHandler())

_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_PROFILE = 34675  # the tag of an ICC profile
# Pixel scale, tie points, transformation, and the keys with their numbers and texts (OGC 19-008r4, annex).
# Each with the number of which its count is a multiple, or None for text.
_GEOTIFF = {33550: 3, 33922: 6, 34264: 16, 34735: 4, 34736: 1, 34737: None}
_ASCII = 2  # a type of tags
_UNITS = {1: 'NONE', 2: 'INCH', 3: 'CENTIMETER'}
_COLOURS = tifffile.PHOTOMETRIC
_LARGEST_CHUNK = 2**24  # pixels of a strip or tile, which is decoded at once


def is_tiff(data: bytes) -> bool:
    """Whether the data begins as a TIFF or a BigTIFF does."""
    return data[:4] in _MAGIC


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What of a file is the image.

    Attributes:
        page: the page with the image, or with the tags of an image of several pages.
        series: the pages that are its channels together; None: the one page is all of it.
        axes: order of the lengths of a series: 'CYX' or 'YXC'.
        height, width, channels: as they are stored, not yet upright.
        note: what to tell the user.
    """

    page: tifffile.TiffPage
    series: Optional[tifffile.TiffPageSeries]
    axes: str
    height: int
    width: int
    channels: int
    note: str = ''


def read_header(data: bytes, options: ReadOptions) -> Header:
    """The header of a TIFF.

    Raises:
        BadImage, or what tifffile raises on broken data, which is of every kind.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        layout = _find_image(file, options)
        page = layout.page
        width, height = layout.width, layout.height
        if _orientation(page) >= 5:  # a quarter turn
            width, height = height, width
        dtype = np.dtype(page.dtype) if page.dtype is not None else np.dtype(np.uint8)
        bits = page.bitspersample if options.raw or page.bitspersample > 16 else 16 if page.bitspersample > 8 else 8
        channels, has_alpha = _channels(layout), _has_alpha(layout)
        left_out = f'band {channels}, which is not marked as alpha, is not used'
        notes = [note for note in (layout.note, left_out if _leaves_out_band(layout, options) else '') if note]
        return Header(width, height, channels, max(8, bits), 'TIFF', has_alpha, kind_of(dtype), note='; '.join(notes))


def decode(data: bytes, options: ReadOptions) -> tuple[Picture, Metadata]:
    """The image of a TIFF, upright, and what else the file says; raises as read_header."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        layout = _find_image(file, options)
        page = layout.page
        if layout.series is None:
            samples = _read_page(data, page, options)
        else:
            samples = layout.series.asarray().reshape(layout.series.shape)
            samples = np.moveaxis(samples, 0, -1) if layout.axes == 'CYX' else samples
        samples = _without_bool(samples)
        array, profile = _interpret(samples, layout, options)
        orientation = _orientation(page)
        metadata = _metadata(samples.dtype, layout, profile)
    if orientation != 1:
        metadata = dataclasses.replace(metadata, geotiff={})  # its places are those of pixels before the turn
    if orientation >= 5:
        metadata = turned(metadata)
    array = turn(array, orientation)
    if array.dtype == np.uint8 and (array.shape[-1] in (1, 3) or metadata.has_alpha):
        return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array), metadata
    return array, metadata


# ------------------------------------------------------------------------------------------ which pages are the image
def _find_image(file: tifffile.TiffFile, options: ReadOptions) -> _Layout:
    """The image of a file with any number of pages.

    A series of channels is an image; of pages that are images of their own, such as a thumbnail and what it shows, the
    largest is taken, and among equals the first.
    """
    layouts = [_layout(series, options) for series in file.series]
    if not layouts:
        raise BadImage('it has no pages')
    layout = max(layouts, key=lambda one: one.height * one.width)  # the first among equals
    limit_pixels(layout.width, layout.height, options.max_pixels)
    if layout.page.imagedepth > 1:
        raise BadImage(f'it is a volume of {layout.page.imagedepth} slices; store each as an image')
    count = sum(_count_pages(series) for series in file.series)
    if layout.series is None and count > 1:
        if options.pages_are_channels:
            wanted = ' or '.join(map(str, options.channels))
            raise BadImage(f'its {count} pages are not {wanted} channels of equal size')
        before = 0
        for series, one in zip(file.series, layouts):
            if one is layout:
                break
            before += _count_pages(series)
        layout = dataclasses.replace(layout, note=f'{count} pages; page {before + 1} is used')
    return layout


def _layout(series: tifffile.TiffPageSeries, options: ReadOptions) -> _Layout:
    """What a series is as an image: all of it, or its first page."""
    axes, shape, page = series.axes, series.shape, series.keyframe
    if len(axes) == 3 and axes.endswith('YX') and len(series) > 1 or axes == 'CYX':
        count, height, width = shape
        if axes[0] == 'Q' and width in options.channels and count not in options.channels:
            # An array [height, width, channels], of which tifffile has made a page of each row.
            return _Layout(page, series, 'YXC', count, height, width)
        if axes[0] == 'C' or (options.pages_are_channels and count in options.channels):
            return _Layout(page, series, 'CYX', height, width, count)
    return _Layout(page, None, '', page.imagelength, page.imagewidth, page.samplesperpixel)


def _count_pages(series: tifffile.TiffPageSeries) -> int:
    return max(1, int(np.prod(series.shape, dtype=np.int64)) // max(1, int(np.prod(series.keyframe.shape))))


# ----------------------------------------------------------------------------------------------- what its samples mean
def _base(page: tifffile.TiffPage) -> int:
    """Samples per pixel without those that are beyond the colours, for inks of four."""
    return {_COLOURS.RGB: 3, _COLOURS.YCBCR: 3, _COLOURS.CIELAB: 3, _COLOURS.ICCLAB: 3, _COLOURS.SEPARATED: 4}.get(
        page.photometric, 1
    )


def _channels(layout: _Layout) -> int:
    """The number of channels of the decoded image."""
    if layout.page.photometric == _COLOURS.SEPARATED:  # inks become red, green and blue
        return 3 + max(0, layout.channels - 4)
    return layout.channels + (2 if layout.page.photometric == _COLOURS.PALETTE else 0)


def _has_alpha(layout: _Layout) -> bool:
    """Whether the last channel is alpha. Extra samples that the file does not explain are bands like the others."""
    page = layout.page
    if layout.series is not None or page.samplesperpixel != _base(page) + 1 or _channels(layout) not in (2, 4):
        return False
    # The tag may be missing in files of programs that know no other extra sample than alpha.
    return not page.extrasamples or page.extrasamples[0] in (
        tifffile.EXTRASAMPLE.ASSOCALPHA,
        tifffile.EXTRASAMPLE.UNASSALPHA,
    )


def _leaves_out_band(layout: _Layout, options: ReadOptions) -> bool:
    """Whether only the colours are wanted of an image with a band beyond them, which must not become alpha."""
    base = _base(layout.page)
    beyond = layout.series is None and not _has_alpha(layout) and base in (1, 3) and _channels(layout) == base + 1
    return beyond and base in options.channels and base + 1 not in options.channels


def _orientation(page: tifffile.TiffPage) -> int:
    return upright(_tag(page, ORIENTATION))


def _tag(page: tifffile.TiffPage, number: int) -> Any:
    """The value of a tag; None if there is none, or none that can be read."""
    try:
        tag = page.tags.get(number)
        return None if tag is None else tag.value
    except Exception:  # broken metadata does not make the pixels unusable; tifffile raises anything on it
        return None


# -------------------------------------------------------------------------------------------------------------- pixels
def _interpret(samples: np.ndarray, layout: _Layout, options: ReadOptions) -> tuple[np.ndarray, Optional[bytes]]:
    """Stored samples, [h, w, s] -> the image's channels, [h, w, c], and the ICC profile that says what they mean."""
    page = layout.page
    if samples.dtype.kind == 'c':
        raise BadImage(f'its values are {samples.dtype}; store it as real numbers')
    max_level = 2**page.bitspersample - 1
    if page.photometric == _COLOURS.SEPARATED and page.samplesperpixel - len(page.extrasamples) != 4:
        inks = page.samplesperpixel - len(page.extrasamples)
        raise BadImage(f'its colours are those of {inks} inks; store it as RGB')
    if not options.raw:
        require_levels(samples.dtype)
        if page.photometric != _COLOURS.PALETTE:
            samples = fill_range(samples, max_level)
            max_level = np.iinfo(samples.dtype).max
    if page.photometric == _COLOURS.MINISWHITE and samples.dtype.kind == 'u':
        grays = 1 if layout.series is None else samples.shape[-1]  # alpha and other bands of a page are no grays
        inverted = max_level - samples[..., :grays]
        samples = np.concatenate([inverted, samples[..., grays:]], axis=-1).astype(samples.dtype)
    if _has_alpha(layout) and page.extrasamples and page.extrasamples[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        samples = _without_premultiplication(samples)
    array, profile = _colours(samples, layout, options)
    return (array[..., : _base(page)] if _leaves_out_band(layout, options) else array), profile


def _read_page(data: bytes, page: tifffile.TiffPage, options: ReadOptions) -> np.ndarray:
    """The samples of one page, [h, w, s]."""
    try:
        if page.photometric == _COLOURS.YCBCR and page.compression != tifffile.COMPRESSION.JPEG:
            return _read_with_pillow(data, page, options)  # tifffile leaves its subsampled colours as they are
        array = page.asarray()
    except Exception as error:
        with contextlib.suppress(Exception):  # it reads some old compressions that tifffile does not
            return _read_with_pillow(data, page, options)
        raise error
    if page.axes.startswith('S'):  # one plane after the other
        array = np.moveaxis(array, 0, -1)
    return array.reshape(page.imagelength, page.imagewidth, -1)


def _without_bool(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.uint8) if samples.dtype.kind == 'b' else samples


def _read_with_pillow(data: bytes, page: tifffile.TiffPage, options: ReadOptions) -> np.ndarray:
    with open_with_pillow(data, options.max_pixels) as image:
        image.seek(page.index)
        if image.mode not in ('1', 'L', 'RGB', 'YCbCr') or (image.mode == 'L' and page.bitspersample != 8):
            raise BadImage(f'its compression ({page.compression.name}) is unknown')
        array = np.asarray(image.convert('RGB') if image.mode == 'YCbCr' else image)
        is_turned = upright(image.getexif().get(ORIENTATION)) != _orientation(page)  # by newer releases of Pillow
    if page.photometric == _COLOURS.MINISWHITE:  # Pillow has inverted it already
        array = ~array if array.dtype.kind == 'b' else 255 - array
    array = array.reshape(*array.shape[:2], -1)
    undo = {6: 8, 8: 6}.get(_orientation(page), _orientation(page))
    return turn(array, undo) if is_turned else array


def _colours(samples: np.ndarray, layout: _Layout, options: ReadOptions) -> tuple[np.ndarray, Optional[bytes]]:
    """Samples as gray or red, green and blue, [h, w, c], and the ICC profile that says what these are."""
    page = layout.page
    meaning, count = page.photometric, _base(page)
    if meaning == _COLOURS.PALETTE:
        table = page.colormap  # uint16 [3, entries]
        table = (table >> 8).astype(np.uint8) if table.max() > 255 else table.astype(np.uint8)
        return np.concatenate([np.moveaxis(table[:, samples[..., 0]], 0, -1), samples[..., 1:]], axis=-1), None
    if meaning in (_COLOURS.CIELAB, _COLOURS.ICCLAB):
        return _from_lab(samples, meaning == _COLOURS.CIELAB), None
    if meaning == _COLOURS.SEPARATED and samples.dtype not in (np.uint8, np.uint16):
        raise BadImage(f'its colours are CMYK in {samples.dtype}; store it as RGB')
    if meaning == _COLOURS.ITULAB:
        raise BadImage('its colours are ITU L*a*b*; store it as RGB')
    profile = _tag(page, _PROFILE) if layout.series is None and samples.dtype in (np.uint8, np.uint16) else None
    array, profile = profiles.apply(samples, profile, count, options.kept_profile)
    if meaning == _COLOURS.SEPARATED and array.shape[-1] == samples.shape[-1]:  # not converted by a profile
        return np.concatenate([_without_inks(array[..., :4]), array[..., 4:]], axis=-1), None
    return array, profile


def _from_lab(samples: np.ndarray, is_signed: bool) -> np.ndarray:
    """CIE L*a*b* of 8 or 16 bits, [h, w, 3 or more] -> red, green and blue of the same depth (TIFF 6.0, section 23)."""
    deep = samples.dtype.itemsize > 1
    if samples.dtype.itemsize > 2 or samples.dtype.kind not in 'ui':
        raise BadImage(f'its colours are CIE L*a*b* in {samples.dtype}; store it as RGB')
    lab = samples[..., :3].astype(np.uint16 if deep else np.uint8)
    if is_signed:  # a and b are two's complements; with the highest bit turned over they count from the least value
        lab = lab ^ np.array([0, 0x8000 if deep else 0x80, 0x8000 if deep else 0x80], lab.dtype)
    if deep:  # 256 times the value and 128
        chroma = np.minimum(lab[..., 1:].astype(np.uint32) * 257 // 256, 65535).astype(np.uint16)
        lab = np.concatenate([lab[..., :1], chroma], axis=-1)
    else:
        lab = lab.astype(np.uint16) * 257
    rgb = profiles.lab_to_srgb(lab)
    rgb = rgb if deep else np.round(rgb / 257).astype(np.uint8)
    return np.concatenate([rgb, samples[..., 3:].astype(rgb.dtype)], axis=-1)


def _without_inks(array: np.ndarray) -> np.ndarray:
    """[h, w, cyan magenta yellow black] -> [h, w, red green blue] without profiles, as Pillow does it in 8 bits."""
    max_level = np.iinfo(array.dtype).max
    light = (max_level - array.astype(np.uint64)) * (max_level - array[..., 3:].astype(np.uint64))
    return ((light[..., :3] + max_level // 2) // max_level).astype(array.dtype)


def _without_premultiplication(array: np.ndarray) -> np.ndarray:
    """Colours times alpha -> colours, [h, w, c and alpha], as Pillow does it."""
    if array.dtype.kind != 'u':
        return array
    max_level = np.iinfo(array.dtype).max
    colour, alpha = array[..., :-1].astype(np.uint64), array[..., -1:].astype(np.uint64)
    straight = np.where(alpha > 0, np.minimum(colour * max_level // np.maximum(alpha, 1), max_level), colour)
    return np.concatenate([straight.astype(array.dtype), array[..., -1:]], axis=-1)


# ------------------------------------------------------------------------------------------------- what goes along
def _metadata(dtype: np.dtype, layout: _Layout, profile: Optional[bytes]) -> Metadata:
    page, has_alpha = layout.page, _has_alpha(layout)
    has_bands = not has_alpha and _channels(layout) not in (1, 3)
    return Metadata(np.dtype(dtype), has_alpha, has_bands, profile, _resolution(page), _geotiff(page))


def _resolution(page: tifffile.TiffPage) -> Optional[tuple[float, float, str]]:
    x, y = _tag(page, 282), _tag(page, 283)
    try:
        x, y = x[0] / x[1], y[0] / y[1]
        return (x, y, _UNITS[int(_tag(page, 296) or 2)]) if x > 0 and y > 0 else None
    except (TypeError, ZeroDivisionError, KeyError, ValueError):
        return None


def _geotiff(page: tifffile.TiffPage) -> Mapping[int, tuple[int, int, Any]]:
    """GeoTIFF's tags, without those that are not what they should be."""
    found = {}
    for number, multiple in _GEOTIFF.items():
        value = _tag(page, number)
        if multiple is None:
            if isinstance(value, str):
                found[number] = _ASCII, 0, value if value.isascii() else value.encode()
            continue
        value = value if isinstance(value, tuple) else (value,)
        if len(value) % multiple == 0 and all(isinstance(part, (int, float)) for part in value):
            found[number] = int(page.tags[number].dtype), len(value), value
    return found


# ------------------------------------------------------------------------------------------------------- large images
class NotInRows(Exception):
    """An image has to be decoded as a whole."""


class Rows:
    """A TIFF of which some rows are decoded without the others.

    Attributes:
        height, width, channels: of the image.
        dtype: of its channels' values.
        metadata: what else the file says.
    """

    def __init__(self, path: str, options: ReadOptions, least: int = 0):
        """Opens a local file.

        Args:
            path: of the file.
            options: how it is read.
            least: minimum number of pixels of an image that is to be read row by row.

        Raises:
            NotInRows: it has fewer pixels, or they cannot be reached row by row.
            BadImage: it cannot be used; or what tifffile raises on broken data, which is of every kind.
        """
        self._file, self._options = tifffile.TiffFile(path), options
        try:
            self._layout = _find_image(self._file, options)
            page = self._layout.page
            plain = page.photometric in (_COLOURS.RGB, _COLOURS.MINISBLACK, _COLOURS.MINISWHITE)
            plain = plain or (page.photometric == _COLOURS.YCBCR and page.compression == tifffile.COMPRESSION.JPEG)
            contiguous = page.planarconfig == tifffile.PLANARCONFIG.CONTIG and page.imagedepth == 1
            if page.imagelength * page.imagewidth < least:
                raise NotInRows
            if self._layout.series is not None or not plain or not contiguous or _orientation(page) != 1:
                raise NotInRows
            self._mapped = None
            if page.is_memmappable:
                offset = page.dataoffsets[0]
                shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
                dtype = page.parent.byteorder + page.dtype.char
                self._mapped = self._file.filehandle.memmap_array(dtype, shape, offset)
            elif page.chunks[0] * page.chunks[1] > _LARGEST_CHUNK:
                raise NotInRows
            array, profile = self._read(0, 1)
        except BaseException:
            self._file.close()
            raise
        self.height, self.width, self.channels = page.imagelength, page.imagewidth, array.shape[-1]
        self.dtype = array.dtype
        self.metadata = _metadata(_without_bool(np.zeros(1, page.dtype)).dtype, self._layout, profile)

    def close(self) -> None:
        """Closes the file."""
        self._mapped = None
        self._file.close()

    def read(self, top: int, bottom: int) -> np.ndarray:
        """The rows from `top` to before `bottom`, [bottom - top, width, channels].

        Raises:
            BadImage: they are damaged, or values are not finite.
        """
        try:
            array = self._read(top, bottom)[0]
            check_finite(array)
            return array
        except BadImage:
            raise
        except Exception as error:  # decoders raise exceptions of any kind for broken data
            raise BadImage(' '.join(str(error).split()) or type(error).__name__) from error

    def _read(self, top: int, bottom: int) -> tuple[np.ndarray, Optional[bytes]]:
        page = self._layout.page
        if self._mapped is not None:
            samples = np.array(self._mapped[top:bottom])
            samples = samples.astype(samples.dtype.newbyteorder('='))
        else:
            shape = (bottom - top, page.imagewidth, page.samplesperpixel)
            samples = np.full(shape, page.nodata, page.dtype)  # a sparse file leaves out strips and tiles
            for chunk, first, left in self._chunks(top, bottom):
                above = max(0, top - first)
                part = chunk[above : bottom - first]
                samples[max(0, first - top) :][: len(part), left : left + part.shape[1]] = part
        return _interpret(_without_bool(samples), self._layout, self._options)

    def _chunks(self, top: int, bottom: int) -> Iterator[tuple[np.ndarray, int, int]]:
        """The strips or tiles that hold any of these rows: samples, [h, w, s], and their first row and column."""
        page = self._layout.page
        height, width = page.chunks[0], page.chunks[1]  # of a strip or a tile
        across = -(-page.imagewidth // width)
        options = {} if page.jpegtables is None else {'jpegtables': page.jpegtables}
        for index in range(top // height * across, -(-bottom // height) * across):
            count = page.databytecounts[index]
            self._file.filehandle.seek(page.dataoffsets[index])
            encoded = self._file.filehandle.read(count) if count else None
            chunk, place, _ = page.decode(encoded, index, **options)
            if chunk is not None:
                yield chunk[0, : page.imagelength - place[2], : page.imagewidth - place[3]], place[2], place[3]

"""The files of translated images: format, type and range of values, and what they keep of the image's file."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Optional

import numpy as np
import tifffile

from cyclegan_tf.data import png
from cyclegan_tf.data.levels import float_to_values, holds, to_levels
from cyclegan_tf.data.pictures import NO_METADATA, Metadata
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.files import whole_file, write_whole

_TILE = 256  # pixels of a side of a TIFF's tiles


@dataclasses.dataclass(frozen=True)
class Output:
    """How the results of one direction are stored.

    Attributes:
        depth: '8', '16', 'float', or 'auto': as deep as the image that was translated.
        format: 'png', 'tiff', or 'auto': PNG for what it can hold.
        value_range: the values that -1 and 1 stand for; None: levels of 8 or 16 bits, or floats from 0 to 1.
    """

    depth: str = 'auto'
    format: str = 'auto'
    value_range: Optional[tuple[float, float]] = None

    def __post_init__(self):
        if self.depth == '16' and self.value_range is not None and self._whole(np.uint16, np.int16) is None:
            low, high = self.value_range
            raise UserError(
                f'`output_depth` (16) cannot store values from {low:g} to {high:g} as whole numbers of 16 bits; set it '
                f'to float.'
            )
        if self.format == 'png' and (self.depth == 'float' or (self.depth == '16' and self._lowest() < 0)):
            what = 'floating-point' if self.depth == 'float' else 'negative'
            raise UserError(f'`output_format` (png) cannot hold {what} numbers; set it to tiff or auto.')

    def dtype(self, found: np.dtype) -> np.dtype:
        """The type of the stored values; `found`: that of the image that was translated."""
        if self.depth == 'float':
            return np.dtype(np.float32)
        if self.depth == '8':
            return np.dtype(np.uint8)
        if self.value_range is None:
            return np.dtype(np.uint16) if self.depth == '16' or found != np.uint8 else np.dtype(np.uint8)
        # Hardly a program reads TIFFs of 64-bit integers, which are NumPy's default.
        own = [found] if found.kind == 'f' or found.itemsize <= 4 else [np.uint16, np.int16, np.int32]
        whole = self._whole(np.uint16, np.int16) if self.depth == '16' else self._whole(*own)
        return np.dtype(np.float32) if whole is None else whole

    def is_png(self, dtype: np.dtype, channels: int, has_alpha: bool) -> bool:
        """Whether a result becomes a PNG.

        Args:
            dtype: of its stored values.
            channels: their number.
            has_alpha: whether the last one of 2 or 4 is alpha, as which PNG would show it.
        """
        holds = dtype in (np.uint8, np.uint16) and channels <= 4 and (channels in (1, 3) or has_alpha)
        return holds and self.format != 'tiff'

    def refusal(self, dtype: np.dtype, channels: int, has_alpha: bool) -> str:
        """Why a result for which is_png does not hold cannot become one."""
        alpha = ', none of them alpha' if channels in (2, 4) and not has_alpha else ''
        return f'`output_format` (png) cannot hold {channels} channels of {dtype}{alpha}; set it to tiff or auto'

    def values(self, picture: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """float [h, w, c] in [-1, 1] -> the values that are stored, of `dtype`."""
        if self.value_range is not None and self.depth != '8':
            return float_to_values(picture, self.value_range, dtype)
        if dtype.kind == 'f':
            return float_to_values(picture, (0.0, 1.0), dtype)
        return to_levels(picture, dtype)

    def _lowest(self) -> float:
        return 0.0 if self.value_range is None else self.value_range[0]

    def _whole(self, *dtypes: type) -> Optional[np.dtype]:
        """The first of these types that is one of integers and holds the range."""
        fitting = (dtype for dtype in map(np.dtype, dtypes) if dtype.kind in 'iu' and holds(dtype, self.value_range))
        return next(fitting, None)


def write_png(path: pathlib.Path, picture: np.ndarray, metadata: Metadata = NO_METADATA) -> None:
    """Writes uint8 or uint16 [h, w, c], c from 1 to 4, atomically, with its ICC profile and resolution."""
    write_whole(path, png.encode(picture, metadata))


def write_tiff(path: pathlib.Path, picture: np.ndarray, metadata: Metadata = NO_METADATA) -> None:
    """Writes numbers, [h, w, c], atomically, with ICC profile, resolution and GeoTIFF's tags."""
    _write_tiff(path, picture, picture.shape, picture.dtype, metadata, {})


def write_tiff_by_rows(
    path: pathlib.Path, rows: Iterable[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype, metadata: Metadata
) -> None:
    """As write_tiff, for an image that comes in parts of any number of rows, [rows, w, c], and is never in memory."""
    _write_tiff(path, _tiles(rows, shape), shape, dtype, metadata, {'tile': (_TILE, _TILE)})


def _write_tiff(
    path: pathlib.Path, data: Any, shape: tuple[int, int, int], dtype: np.dtype, metadata: Metadata, layout: dict
) -> None:
    channels = shape[-1]
    colours = 3 if channels in (3, 4) else 1
    extra = channels - colours
    along: dict[str, Any] = {}
    if metadata.resolution is not None:
        *along['resolution'], along['resolutionunit'] = metadata.resolution
    if extra:
        along['extrasamples'] = ['unassalpha' if metadata.has_alpha and extra == 1 else 'unspecified'] * extra
    if channels > 1:
        along['planarconfig'] = 'contig'
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        tifffile.imwrite(
            partial,
            data[..., 0] if isinstance(data, np.ndarray) and channels == 1 else data,
            shape=shape[:2] if channels == 1 else shape,
            dtype=dtype,
            photometric='rgb' if colours == 3 else 'minisblack',
            compression='zlib',
            predictor=np.dtype(dtype).kind in 'iu',
            bigtiff=np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize > 2**32 - 2**25,
            iccprofile=metadata.icc_profile,
            extratags=[(tag, kind, count, value, True) for tag, (kind, count, value) in metadata.geotiff.items()],
            software='cyclegan_tf',
            metadata=None,
            **along,
            **layout,
        )


def _tiles(rows: Iterable[np.ndarray], shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Parts of any number of rows -> the tiles of a TIFF, row by row, filled up with zeros at its right and below."""
    _, width, channels = shape
    across = -(-width // _TILE)
    parts: list[np.ndarray] = []

    def cut(band):
        for left in range(0, across * _TILE, _TILE):
            part = band[:_TILE, left : left + _TILE]
            tile = np.zeros((_TILE, _TILE, channels), band.dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile[..., 0] if channels == 1 else tile

    for part in rows:
        parts.append(part)
        if sum(map(len, parts)) < _TILE:
            continue
        band = np.concatenate(parts)
        while len(band) >= _TILE:
            yield from cut(band)
            band = band[_TILE:]
        parts = [band]
    if sum(map(len, parts)):
        yield from cut(np.concatenate(parts))

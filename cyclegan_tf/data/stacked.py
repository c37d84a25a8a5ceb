"""Several images that are one input: those of several sources, stacked as the channels of one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import require_channels, set_channels
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.pictures import Metadata


def stack(sources: Sequence[Source], channels: Sequence[int]) -> Source:
    """A source whose image i has the channels of image i of each source, one source after the other.

    Args:
        sources: equally many images each; those of an index have to have the same size.
        channels: number of channels that the images of each source are converted to.
    """
    if len(sources) == 1:
        return sources[0]
    first, total = sources[0], sum(channels)

    def decoded(index: int) -> tuple[decode.Picture, Metadata]:
        arrays, metadata = [], None
        for source, count in zip(sources, channels):
            picture, of_file = source.picture_with_metadata(index)  # values of a range are in [-1, 1] already
            metadata = metadata or of_file
            arrays.append(decode.to_array(set_channels(picture, count)))
        _require_one_size([array.shape[1::-1] for array in arrays])
        if any(array.dtype == np.uint16 for array in arrays):
            arrays = [array.astype(np.uint16) * 257 if array.dtype == np.uint8 else array for array in arrays]
        stacked = np.concatenate(arrays, axis=-1)
        dtype = metadata.dtype if first.options.raw else stacked.dtype
        metadata = dataclasses.replace(metadata, dtype=dtype, has_alpha=False, has_bands=total not in (1, 3))
        return stacked, metadata if total in (1, 3) else dataclasses.replace(metadata, icc_profile=None)

    return dataclasses.replace(
        first,
        where=' + '.join(source.where for source in sources),
        label=lambda i: ' + '.join(source.label(i) for source in sources),
        stamp=lambda i: ' '.join(source.stamp(i) for source in sources),
        path=lambda i: None,
        list_names=lambda: first.names,
        decoded=decoded,
        options=dataclasses.replace(first.options, channels=(total,)),
        notes=list(dict.fromkeys(note for source in sources for note in source.notes)),
        parts=tuple(sources),
        channels=tuple(channels),
    )


def stack_headers(headers: Sequence[decode.Header], channels: Sequence[int]) -> decode.Header:
    """The header of the stacked image.

    Raises:
        decode.BadImage: the images do not fit together, or cannot have these channels.
    """
    for header, count in zip(headers, channels):
        require_channels(header.channels, count)
    _require_one_size([(header.width, header.height) for header in headers])
    ranges = [header.values for header in headers if header.values is not None]
    deepest = max(headers, key=lambda header: header.bits)
    return dataclasses.replace(
        deepest,
        channels=sum(channels),
        has_alpha=False,
        values=(min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None,
    )


def _require_one_size(sizes: Sequence[tuple[int, int]]) -> None:
    if len(set(sizes)) > 1:
        several = ' and '.join(f'{width}x{height}' for width, height in sizes)
        raise decode.BadImage(f'the images that are stacked differ in size: {several}')

"""Source, which is what every source of images offers; and stamps and error reasons for those that make one."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Optional

import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode
from cyclegan_tf.data.levels import values_to_float
from cyclegan_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
    """The encoded images of one domain and phase, in a fixed order.

    Attributes:
        count: number of images.
        where: the folder or data set, for messages.
        label: index -> the image's place, for messages.
        data: index -> the encoded image; raises OSError or tf.errors.OpError if it cannot be read.
        stamp: index -> text that changes when the image changes; it is obtained without reading the image.
        list_names: () -> one unique name for each image, without suffix; images of two domains with the same name are
            a pair.
        half: None, or 'left' or 'right': only that half of each image (dataset_mode aligned).
        decoded: index -> the decoded image with both halves, and what else its file says; None: `data` is decoded on
            every call.
        options: how the files are read.
        path: index -> the path of a local file, None if it is none.
        notes: lines about what was found beside the images, for the user.
        pairing: why image i belongs to image i of the other domain's source; empty: it does not.
        parts, channels: the sources whose images are stacked as channels, and the number of channels of each; empty: an
            image is one file. `data` is then that of the first part, and `decoded` gives what `picture` returns.
    """

    count: int
    where: str
    label: Callable[[int], str]
    data: Callable[[int], bytes]
    stamp: Callable[[int], str]
    list_names: Callable[[], Sequence[str]]
    half: Optional[str] = None
    decoded: Optional[Callable[[int], tuple[decode.Picture, decode.Metadata]]] = None
    options: decode.ReadOptions = decode.PLAIN
    path: Callable[[int], Optional[str]] = lambda index: None
    notes: Sequence[str] = ()
    pairing: str = ''
    parts: tuple[Source, ...] = ()
    channels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The images' names: see list_names."""
        return tuple(self.list_names())

    def picture(self, index: int) -> decode.Picture:
        """One decoded image, upright; with a value range, float32 [h, w, c] in [-1, 1].

        Raises:
            decode.BadImage: it cannot be read or decoded; the message is the reason.
        """
        return self.picture_with_metadata(index)[0]

    def picture_with_metadata(self, index: int) -> tuple[decode.Picture, decode.Metadata]:
        """`picture`, and what else its file says."""
        picture, metadata = self.stored(index)
        if self.half is not None:
            picture, metadata = self.cut(picture), dataclasses.replace(metadata, geotiff={})
        if self.options.value_range is not None and not self.parts:
            picture = values_to_float(decode.to_array(picture), self.options.value_range)
        return picture, metadata

    def stored(self, index: int) -> tuple[decode.Picture, decode.Metadata]:
        """The decoded file with values as they are stored, and what else it says; raises as `picture`."""
        if self.decoded:
            return self.decoded(index)
        return decode.decode_with_metadata(self.read(index), self.options)

    def read(self, index: int) -> bytes:
        """The encoded image.

        Raises:
            decode.BadImage: it cannot be read; the message is the reason.
        """
        try:
            return self.data(index)
        except (OSError, tf.errors.OpError) as error:
            raise decode.BadImage(reason(error)) from error

    def cut(self, picture: decode.Picture) -> decode.Picture:
        """The half of an image that belongs to this source; all of the image if there are no halves."""
        if self.half is None:
            return picture
        # Departs from the reference: if the width is odd, the last column belongs to neither half, so that A and B have
        # the same size.
        if isinstance(picture, Image.Image):
            width, height = picture.size[0] // 2, picture.size[1]
            left = 0 if self.half == 'left' else width
            return picture.crop((left, 0, left + width, height))
        width = picture.shape[1] // 2
        return picture[:, :width] if self.half == 'left' else picture[:, width : 2 * width]

    def cut_header(self, header: decode.Header) -> decode.Header:
        """The header of what `cut` returns."""
        if self.half is None:
            return header
        return dataclasses.replace(header, width=header.width // 2, values=None)  # its values are those of both halves

    def select(self, indices: Sequence[int]) -> Source:
        """A source of these images only, in this order."""
        indices = list(indices)
        return dataclasses.replace(
            self,
            count=len(indices),
            label=lambda i: self.label(indices[i]),
            data=lambda i: self.data(indices[i]),
            stamp=lambda i: self.stamp(indices[i]),
            list_names=lambda: [self.names[i] for i in indices],
            decoded=self.decoded and (lambda i: self.decoded(indices[i])),
            path=lambda i: self.path(indices[i]),
            parts=tuple(part.select(indices) for part in self.parts),
        )

    def error(self, index: int, problem: Exception) -> UserError:
        """The error for an image that cannot be used."""
        return UserError(f'{self.label(index)} cannot be used: {problem}; replace or remove it.')


def reason(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, (FileNotFoundError, tf.errors.NotFoundError)):
        return 'the file does not exist (a broken link?)'
    if isinstance(error, (PermissionError, tf.errors.PermissionDeniedError)):
        return 'it cannot be read (permission denied)'
    return ' '.join(str(getattr(error, 'strerror', None) or getattr(error, 'message', None) or error).split())


def stamp_file(path: str) -> str:
    """Text that changes when a file changes or is replaced by another one."""
    try:
        if '://' in path:
            status = tf.io.gfile.stat(path)
            return f'{path} {status.length} {status.mtime_nsec}'
        # Of local files tf.io.gfile gives the time in whole seconds only, and no inodes.
        status = os.stat(path)
    except (OSError, tf.errors.OpError):
        return f'{path} missing'
    return f'{os.path.abspath(path)} {status.st_ino} {status.st_size} {status.st_mtime_ns}'

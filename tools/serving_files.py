"""The files of the serving client: which are read and written, and what of them is sent."""

from __future__ import annotations

import collections
import dataclasses
import io
import os
import pathlib
import struct
from collections.abc import Sequence

from PIL import Image

from cyclegan_tf.data import decode, folders, png
from cyclegan_tf.data.pictures import ORIENTATION, upright
from cyclegan_tf.errors import UserError

_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_EXIF_WITHIN = 1 << 17  # EXIF data are in one of a JPEG's first segments, each of which has at most 64 kB


@dataclasses.dataclass(frozen=True)
class Task:
    """One image: its path, and the path of its translation."""

    source: pathlib.Path
    target: pathlib.Path


def plan(source: pathlib.Path, output: pathlib.Path) -> list[Task]:
    """What is read and written, in a fixed order.

    Raises:
        UserError: there are no images, or a result would overwrite an image to translate.
    """
    if source.is_dir():
        if output.exists() and not output.is_dir():
            raise UserError(f"OUT ('{output}') is a file, and IN ('{source}') a folder; set OUT to a folder.")
        paths = _images(source, output)
        names = _output_names([path.relative_to(source).as_posix() for path in paths])
        tasks = [Task(path, output / f'{name}.png') for path, name in zip(paths, names)]
    elif source.is_file():
        if output.is_dir():
            output = output / f'{source.stem}.png'
        elif output.suffix.lower() != '.png':
            raise UserError(f"OUT ('{output}') does not end in .png, the format of the results; rename it.")
        tasks = [Task(source, output)]
    else:
        raise UserError(f"IN ('{source}') is not a file or folder; set it to an image or to a folder of images.")
    inputs = {os.path.realpath(task.source) for task in tasks}
    for task in tasks:
        if os.path.realpath(task.target) in inputs:
            raise UserError(f"OUT ('{task.target}') is also an image to translate; set OUT to another place.")
    return tasks


def _images(folder: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
    """The images in a folder with its subfolders, but not the results of an earlier call if OUT is inside of it."""
    results = pathlib.Path(os.path.realpath(output))
    paths = [pathlib.Path(path) for path in folders.find_images(str(folder)).paths]
    if results != pathlib.Path(os.path.realpath(folder)):
        paths = [path for path in paths if results not in pathlib.Path(os.path.realpath(path)).parents]
    if not paths:
        endings = ' '.join(ending[1:] for ending in decode.EXTENSIONS)
        raise UserError(f"IN ('{folder}') holds no images; put files there that end in one of: {endings}.")
    return paths


def _output_names(paths: Sequence[str]) -> list[str]:
    """Paths without suffix, except that cat.jpg and cat.png in the same folder become cat_jpg and cat_png.

    No two results are equal, even if upper and lower case are not distinguished.
    """
    stems = [os.path.splitext(path)[0] for path in paths]
    counts = collections.Counter(stem.lower() for stem in stems)
    # Names without suffix are taken first, so that none of them has to change because of a longer name.
    taken = {stem.lower() for stem in stems if counts[stem.lower()] == 1}
    names = []
    for path, stem in zip(paths, stems):
        name, count = stem, 1
        if counts[stem.lower()] > 1:
            wanted = name = f'{stem}_{os.path.splitext(path)[1][1:]}'
            while name.lower() in taken:
                count += 1
                name = f'{wanted}_{count}'
            taken.add(name.lower())
        names.append(name)
    return names


def sendable(data: bytes) -> bytes:
    """The file itself if TensorFlow decodes it as viewers show it, else a PNG of what they show.

    Raises:
        decode.BadImage: it is not a JPEG, PNG or BMP, which the server checks, and not another image, either.
    """
    if (data.startswith(_JPEG) and not _is_turned(data)) or data.startswith(_PNG) or _is_plain_bmp(data):
        return data
    picture, metadata = decode.decode_with_metadata(data, decode.ReadOptions(channels=()))
    pixels = decode.to_array(picture)
    if metadata.has_bands:
        what = '' if pixels.shape[-1] > 4 else ', none of them alpha'
        raise decode.BadImage(f'it has {pixels.shape[-1]} channels{what}; gray and colour can be translated')
    return png.encode(pixels)


def _is_turned(data: bytes) -> bool:
    """Whether a JPEG has to be rotated, like many that cameras write."""
    if b'Exif' not in data[:_EXIF_WITHIN]:
        return False
    try:
        return upright(Image.open(io.BytesIO(data)).getexif().get(ORIENTATION, 1)) != 1
    except Exception:  # Pillow raises anything on broken metadata; the server reports what else is wrong
        return False


def _is_plain_bmp(data: bytes) -> bool:
    """Whether it is a BMP of 24 bits a pixel. TensorFlow takes a palette's indices for gray, and reads no other BMP."""
    return data.startswith(b'BM') and len(data) >= 34 and struct.unpack_from('<HI', data, 28) == (24, 0)

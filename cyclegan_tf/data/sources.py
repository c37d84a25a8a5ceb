"""Where images come from: folders, or the demo."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Optional

import numpy as np
from PIL import Image, ImageOps

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.tif', '.tiff', '.webp')
MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # Pillow's, by number of channels


@dataclasses.dataclass(frozen=True)
class Source:
    """The images of one domain and phase, in a fixed order.

    Attributes:
        names: one for each image, unique, without suffix; images of two domains with the same name are a pair.
        labels: where each image is, for messages.
        open_image: index -> Pillow image; raises OSError for one that cannot be read.
        where: the folder or data set, for messages.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    open_image: Callable[[int], Image.Image]
    where: str

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, channels: int) -> Image.Image:
        """One decoded image, upright, in Pillow's mode for the number of channels.

        Raises:
            UserError: the file cannot be decoded; the message names it.
        """
        try:
            image = ImageOps.exif_transpose(self.open_image(index))
            if image.mode.startswith('I;16'):
                # Pillow would clip these at 255 rather than scale them.
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return image.convert(MODES[channels])
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(
                f'{self.labels[index]} cannot be decoded ({error}); replace it or take it out of the folder.'
            ) from error


def open_source(dataroot: str, phase: str, domain: str, max_size: Optional[int] = None) -> Source:
    """The images of a domain.

    Args:
        dataroot: 'demo', or a folder that contains trainA, trainB, testA and testB.
        phase: 'train' or 'test'.
        domain: 'A' or 'B'.
        max_size: use the first so many, after sorting.

    Raises:
        UserError: the folder is missing, or holds no images.
    """
    if dataroot == 'demo':
        source = _demo_source(phase, domain)
    else:
        source = _folder_source(pathlib.Path(dataroot).expanduser(), phase + domain)
    if max_size is not None and max_size < len(source):
        return dataclasses.replace(source, names=source.names[:max_size], labels=source.labels[:max_size])
    return source


def _folder_source(root: pathlib.Path, part: str) -> Source:
    if not root.is_dir():
        raise UserError(f"`dataroot` ('{root}') is no folder; set it to one with trainA and trainB, or to demo.")
    folder = root / part
    if not folder.is_dir():
        present = ', '.join(sorted(path.name for path in root.iterdir() if path.is_dir())) or 'none'
        raise UserError(f"`dataroot` ('{root}') has no folder {part} (folders in it: {present}); put the images there.")
    # Departs from the reference: sorted before it is cut to max_dataset_size, so that the cut is the same everywhere.
    paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in EXTENSIONS)
    if not paths:
        endings = ' '.join(ending[1:] for ending in EXTENSIONS)
        raise UserError(f"'{folder}' holds no images; put files there that end in one of: {endings}.")
    return Source(
        names=_unique_names([path.relative_to(folder) for path in paths]),
        labels=tuple(map(str, paths)),
        open_image=lambda index: Image.open(paths[index]),
        where=str(folder),
    )


def _unique_names(paths: list[pathlib.Path]) -> tuple[str, ...]:
    """Paths without suffix, except where that makes two alike: cat.jpg beside cat.png keep theirs."""
    stems = [path.with_suffix('').as_posix() for path in paths]
    return tuple(
        stem if stems.count(stem) == 1 else path.as_posix().replace('.', '_') for stem, path in zip(stems, paths)
    )


def _demo_source(phase: str, domain: str) -> Source:
    pictures = demo.regions(phase, domain)
    return Source(
        names=tuple(pictures),
        labels=tuple(f'demo {phase}{domain} {name}' for name in pictures),
        open_image=lambda index: Image.fromarray(list(pictures.values())[index]),
        where=f'demo {phase}{domain}',
    )

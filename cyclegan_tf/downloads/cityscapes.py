"""Makes the data set cityscapes of one's own copy: photographs and coloured labels of streets, 256x256."""

from __future__ import annotations

import os
import pathlib

from PIL import Image

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime.console import progress_bar

_SIDE = 256  # pixels, as the reference's datasets/prepare_cityscapes_dataset.py; also these:
_PHASES = {'train': 'train', 'val': 'test'}  # of Cityscapes -> of the data set; its own test images have no labels
_JPEG = {'format': 'JPEG', 'quality': 100, 'subsampling': 0}
_PHOTO, _LABEL = '_leftImg8bit.png', '_gtFine_color.png'  # the endings of the images of a pair


def prepare(folder: pathlib.Path, labels: str, photos: str, aligned: bool) -> None:
    """Writes the images of domain A, photographs, and of B, labels.

    Departs from the reference: files keep the names of Cityscapes, as in aachen_000000_000019, where that numbers them,
    and those of A and B have the same name.

    Args:
        folder: an existing folder.
        labels: what gtFine_trainvaltest.zip was unpacked to, or the folder gtFine in it.
        photos: the same for leftImg8bit.
        aligned: write one image of both, A in its left half, to train and test, instead of trainA, trainB, testA and
            testB.

    Raises:
        UserError: a folder is missing or holds no images; an image has no counterpart, or cannot be read.
    """
    for phase, own_phase in _PHASES.items():
        of_labels = _find('gtFine_dir', labels, 'gtFine', phase, _LABEL)
        of_photos = _find('leftImg8bit_dir', photos, 'leftImg8bit', phase, _PHOTO)
        for name in sorted(of_labels.keys() ^ of_photos.keys()):
            where, flag = (labels, 'gtFine_dir') if name in of_photos else (photos, 'leftImg8bit_dir')
            raise UserError(
                f"`{flag}` ('{where}') has no counterpart of '{of_photos.get(name) or of_labels[name]}'; unpack both "
                f'archives completely.'
            )
        parts = [own_phase] if aligned else [f'{own_phase}A', f'{own_phase}B']
        for part in parts:
            (folder / part).mkdir()
        for name in progress_bar(sorted(of_photos), f'Resizing {phase}', unit='pairs'):
            pair = [_resized(of_photos[name]), _resized(of_labels[name])]
            for part, image in zip(parts, [_beside(*pair)] if aligned else pair):
                image.save(folder / part / f'{name}.jpg', **_JPEG)


def _find(flag: str, given: str, inner: str, phase: str, ending: str) -> dict[str, pathlib.Path]:
    """The images of a phase, by their names without the ending."""
    root = pathlib.Path(os.path.expanduser(given))
    root = root / inner if (root / inner).is_dir() else root
    found = {path.name.removesuffix(ending): path for path in root.glob(f'{phase}/*/*{ending}')}
    if not found:
        raise UserError(
            f"`{flag}` ('{given}') has no {phase}/CITY/*{ending}; set it to the folder that "
            f'{inner}_trainvaltest.zip was unpacked to.'
        )
    return found


def _resized(path: pathlib.Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert('RGB').resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    except (OSError, SyntaxError, ValueError) as error:  # all of which Pillow raises for damaged files
        raise UserError(f"'{path}' cannot be read ({first_line(error)}); unpack it again.") from error


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new('RGB', (2 * _SIDE, _SIDE))
    both.paste(left, (0, 0))
    both.paste(right, (_SIDE, 0))
    return both

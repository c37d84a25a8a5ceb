"""Scores of label maps that are drawn in colours: per-pixel accuracy, per-class accuracy and class IoU.

With Cityscapes' colours they are the figures of CycleGAN's table 3 (Zhu et al. 2017), photographs to labels: each pixel
of a translation is of the class whose colour is nearest. Formulas: Long, Shelhamer, Darrell, "Fully Convolutional
Networks for Semantic Segmentation", 2015, section 5.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re

import numpy as np

from cyclegan_tf.errors import UserError

MEASURES = ('pixel_accuracy', 'class_accuracy', 'class_iou')

_PIXELS = 1 << 16  # whose distances to all colours are in memory at a time
# Levels between true pixels and their nearest colours, on average. Label maps stay below 10, even after JPEG and
# resizing, which mixes colours at borders; photographs are beyond 30.
_FAR = 20.0

# Cityscapes' classes (cityscapesScripts, helpers/labels.py): the 19 that its benchmark counts, and the colours of the
# others. Pole group and licence plate are drawn as pole and car.
_CITYSCAPES = """
128,64,128,road
244,35,232,sidewalk
70,70,70,building
102,102,156,wall
190,153,153,fence
153,153,153,pole
250,170,30,traffic light
220,220,0,traffic sign
107,142,35,vegetation
152,251,152,terrain
70,130,180,sky
220,20,60,person
255,0,0,rider
0,0,142,car
0,0,70,truck
0,60,100,bus
0,80,100,train
0,0,230,motorcycle
119,11,32,bicycle
0,0,0,unlabelled,ignored
111,74,0,dynamic,ignored
81,0,81,ground,ignored
250,170,160,parking,ignored
230,150,140,rail track,ignored
180,165,180,guard rail,ignored
150,100,100,bridge,ignored
150,120,90,tunnel,ignored
0,0,90,caravan,ignored
0,0,110,trailer,ignored
"""


@dataclasses.dataclass(frozen=True)
class Palette:
    """The colours of classes.

    Attributes:
        name: as it was asked for.
        colours: uint8 [k, 3].
        classes: names, k of them.
        counted: bool [k]; where the truth is of another class, a pixel does not count.
    """

    name: str
    colours: np.ndarray
    classes: tuple[str, ...]
    counted: np.ndarray

    def nearest(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Classes of pixels, int [h, w], the first of several that are as near; and the mean distance to the colours,
        in levels, of uint8 [h, w, 3]."""
        colours = self.colours.astype(np.float32)
        pixels, found, total = image.reshape(-1, 3), [], 0.0
        for start in range(0, len(pixels), _PIXELS):
            some = pixels[start : start + _PIXELS].astype(np.float32)
            squares = np.square(some[:, None] - colours).sum(axis=2)
            found.append(squares.argmin(axis=1))
            total += np.sqrt(squares.min(axis=1)).sum(dtype=np.float64)
        return np.concatenate(found).reshape(image.shape[:2]), total / len(pixels)


def make_palette(name_or_path: str) -> Palette:
    """A palette by its name, 'cityscapes', or from a file: lines 'red,green,blue,class', with ',ignored' behind those
    that do not count.

    Raises:
        UserError: the file cannot be read, or does not hold that.
    """
    where = f"`palette` ('{name_or_path}')"
    if name_or_path == 'cityscapes':
        lines = _CITYSCAPES.strip().splitlines()
    else:
        try:
            lines = pathlib.Path(name_or_path).expanduser().read_text(encoding='utf-8-sig').splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, 'strerror', None) or 'it is no text'
            raise UserError(
                f'{where} cannot be read ({reason}); set it to cityscapes, or to a text file of colours.'
            ) from error
    colours, classes, counted = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split(',')]
        levels = [int(part) for part in parts[:3] if re.fullmatch('[0-9]{1,3}', part) and int(part) < 256]
        if len(levels) != 3 or len(parts) not in (4, 5) or not parts[3] or parts[4:] not in ([], ['ignored']):
            raise UserError(
                f"{where} has the line {number} '{line.strip()[:80]}'; write it as red,green,blue,class, with levels "
                f'from 0 to 255, and ,ignored behind a class that does not count.'
            )
        colours.append(levels)
        classes.append(parts[3])
        counted.append(len(parts) == 4)
    for kind, values in (('colour', [tuple(colour) for colour in colours]), ('class', classes)):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise UserError(f'{where} has the {kind} {twice} twice; remove one.')
    if not any(counted):
        raise UserError(f'{where} has no class that counts; add lines of red,green,blue,class.')
    return Palette(name_or_path, np.array(colours, np.uint8), tuple(classes), np.array(counted))


class LabelScores:
    """Scores of label maps against true ones, which are added one after another."""

    def __init__(self, palette: Palette):
        self._palette = palette
        # True class -> class of the translation -> pixels.
        self._confusion = np.zeros([len(palette.classes)] * 2, np.int64)
        self._distances: list[float] = []

    def add(self, picture: np.ndarray, truth: np.ndarray) -> float:
        """Adds uint8 [h, w, 3] twice; returns the share of right pixels, NaN where none counts."""
        (found, _), (true, distance) = self._palette.nearest(picture), self._palette.nearest(truth)
        count = len(self._palette.classes)
        confusion = np.bincount((true * count + found).ravel(), minlength=count**2).reshape(count, count)
        self._confusion += confusion
        self._distances.append(distance)
        return _share(*_right_and_all(confusion, self._palette.counted))

    @property
    def distance(self) -> float:
        """Levels between true pixels and their nearest colours, on average."""
        return float(np.mean(self._distances))

    @property
    def are_labels(self) -> bool:
        """Whether the true images are drawn in these colours."""
        return bool(self._distances) and self.distance <= _FAR

    def summary(self) -> dict[str, float]:
        """pixel_accuracy: share of right pixels. class_accuracy: the mean over classes of that among a class's pixels.
        class_iou: the mean over classes of right pixels divided by those that are of the class or called so. Classes
        that no true pixel has do not count; NaN if none does."""
        counted = self._palette.counted
        confusion = self._confusion[counted]  # the translation may show a class that does not count
        right, true = self._confusion.diagonal()[counted], confusion.sum(axis=1)
        union = true + confusion.sum(axis=0)[counted] - right
        there = true > 0
        means = ((right[there] / whole[there]).mean() if there.any() else np.nan for whole in (true, union))
        return dict(zip(MEASURES, map(float, (_share(right.sum(), true.sum()), *means))))

    def of_classes(self) -> dict[str, dict[str, float]]:
        """Class -> its pixels, accuracy and iou, of those that any true pixel has."""
        counted, result = self._palette.counted, {}
        called = self._confusion[counted].sum(axis=0)
        for index in np.flatnonzero(counted & (self._confusion.sum(axis=1) > 0)):
            right, true = self._confusion[index, index], self._confusion[index].sum()
            iou = right / (true + called[index] - right)
            result[self._palette.classes[index]] = {
                'pixels': int(true), 'accuracy': float(right / true), 'iou': float(iou)
            }  # fmt: skip
        return result


def _right_and_all(confusion: np.ndarray, counted: np.ndarray) -> tuple[int, int]:
    return confusion.diagonal()[counted].sum(), confusion[counted].sum()


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float('nan')

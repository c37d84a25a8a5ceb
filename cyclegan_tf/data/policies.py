"""Augmentation policies: KerasCV's layers, driven by random integers that the caller passes.

A policy changes the training images themselves, not what the discriminators see of both real and translated images. So
it widens the two domains that the networks learn: its changes of the photographs will appear in translations. (Zhao et
al. 2020, arXiv 2006.10738, DiffAugment, change what the discriminators see, and saw little gain from changing the
training images alone.) The strengths are therefore a fraction of DiffAugment's, which are cited beside them. There is
no policy for blur and noise, since soft or grainy images would then be among those that a translator should make.

The result is a function of the image and its random integers: KerasCV's layers do the work, and their random state is
not used. Each layer is called by `augment_images(images, transformations=...)`, since KerasCV itself separates choosing
a random change from applying it.

KerasCV is slow to import, so this module should be imported only where a policy is needed.
"""

from __future__ import annotations

import abc
import contextlib
import io
import math
from collections.abc import Sequence

import tensorflow as tf

from cyclegan_tf.errors import UserError

with contextlib.redirect_stdout(io.StringIO()):  # it prints 'Using TensorFlow backend' where results belong
    import keras_cv

NUMBERS = 2**24  # how many different random integers there are: those that float32 represents exactly

# Each change is evenly distributed from -strength to +strength, where 0 is no change.
BRIGHTNESS = 0.08  # of the range, added: 20 levels; DiffAugment 0.25
CONTRAST = 0.2  # a factor of 0.8 to 1.2 about each channel's mean; DiffAugment 0.5
SATURATION = 0.25  # a factor of 0.75 to 1.25; DiffAugment 1
HUE = 0.02  # of a turn: 7 degrees. Not in DiffAugment; more makes skin and grass implausible
ROTATION = 5 / 360  # of a turn. Not in DiffAugment; more shows the mirrored border
ZOOM = 0.1  # of the size. Not in DiffAugment; StarGAN v2 (core/data_loader.py) crops to 0.8 of the area: 0.9 of a side
TRANSLATION = 1 / 32  # of the size; DiffAugment 1/8. More shows the mirrored border, and the random crop shifts, too

# Erased rectangles: half of the images have none, so that most of a domain remains complete images (Karras et al. 2020,
# arXiv 2006.06676: a generator learns to reproduce what is done to most of the images).
ERASE_SHARE = 1 / 2
ERASE_SIDES = (8, 4)  # from an eighth to a quarter of the image's side; DiffAugment always uses a half
ERASE_LEVEL = 127.5  # 0 for the networks, as in DiffAugment

# Arguments of all layers: float32, since images are float32 while Keras's global policy may be bfloat16; and a seed,
# because without one the layers use TensorFlow's global generator, which does not exist under deterministic operations.
_SHARED = dict(dtype='float32', seed=1)


class Policy(abc.ABC):
    """One way to change images.

    An instance has no state and may be traced any number of times. It has to be created outside of tf.function, because
    KerasCV's layers create variables (the generators that are not used).

    Args:
        channels: number of channels of the images. With fewer than 3, images are gray: saturation and hue do not apply.
            A fourth channel is alpha: light and colour leave it unchanged; the geometry and the erased rectangle change
            all channels alike.
        parts: the numbers of channels of several images that are stacked, each of which is changed in the same way;
            empty: it is one image.
    """

    num_random: int
    """Number of random integers for each image."""

    compiles: bool
    """Whether XLA compiles the policy; if not, a single trace takes images of any height and width."""

    def __init__(self, channels: int, parts: Sequence[int] = ()):
        self._channels, self._parts = channels, tuple(parts) or (channels,)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Changes each image as its random integers say.

        Args:
            images: float32 [b, h, w, c] in [0, 255].
            numbers: int32 [b, num_random] in [0, 2**24), evenly distributed. Generate them outside of XLA and as
                integers: floats from the same seed differ between XLA and plain execution. 2**23 everywhere means no
                change.

        Returns:
            float32 [b, h, w, c] in [0, 255].
        """
        changed = self._change(images, tf.unstack(numbers, num=self.num_random, axis=1))
        return tf.ensure_shape(tf.clip_by_value(changed, 0.0, 255.0), images.shape)

    @abc.abstractmethod
    def _change(self, images: tf.Tensor, numbers: list[tf.Tensor]) -> tf.Tensor:
        """numbers: `num_random` tensors, int32 [b]."""

    def _on_colours(self, change, images: tf.Tensor, least: int = 1) -> tf.Tensor:
        """Applies `change` to all channels except alpha, of the images with at least `least` channels."""
        changed = []
        for part in tf.split(images, self._parts, axis=-1):
            channels = part.shape[-1]
            if channels < least:
                changed.append(part)
            elif channels < 4:
                changed.append(change(part))
            else:
                changed.append(tf.concat([change(part[..., :3]), part[..., 3:]], axis=-1))
        return tf.concat(changed, axis=-1) if len(changed) > 1 else changed[0]


class Light(Policy):
    """Brightness and contrast, as of another exposure; colours keep their hue. For domains that differ in colour."""

    num_random = 2
    compiles = True

    def __init__(self, channels: int, parts: Sequence[int] = ()):
        super().__init__(channels, parts)
        # Here and below: the factor of 0 leaves nothing to the layer's own random choice.
        self._brightness = keras_cv.layers.RandomBrightness(0, value_range=(0, 255), **_SHARED)
        self._contrast = keras_cv.layers.RandomContrast((0, 255), 0, **_SHARED)

    def _change(self, images, numbers):
        def change(x):
            # RandomBrightness takes levels, RandomContrast factors, both [b, 1, 1, 1].
            x = self._brightness.augment_images(x, transformations=_column(255 * _spread(numbers[0], BRIGHTNESS), 3))
            return self._contrast.augment_images(x, transformations=_column(1 + _spread(numbers[1], CONTRAST), 3))

        return self._on_colours(change, images)


class Color(Policy):
    """Light, then saturation and hue; only Light for gray images."""

    num_random = Light.num_random + 2
    compiles = True

    def __init__(self, channels: int, parts: Sequence[int] = ()):
        super().__init__(channels, parts)
        self._light = Light(channels, parts)
        self._saturation = keras_cv.layers.RandomSaturation(0, **_SHARED)
        self._hue = keras_cv.layers.RandomHue(0, value_range=(0, 255), **_SHARED)

    def _change(self, images, numbers):
        def change(x):
            saturation = 1 + _spread(numbers[2], SATURATION)
            # RandomSaturation multiplies by t / (1 - t); RandomHue adds turns; both [b].
            x = self._saturation.augment_images(x, transformations=saturation / (1 + saturation))
            return self._hue.augment_images(x, transformations=_spread(numbers[3], HUE))

        images = self._light._change(images, numbers[:2])
        return self._on_colours(change, images, least=3)


class Affine(Policy):
    """Small rotation, zoom and translation; beyond its border an image is mirrored."""

    num_random = 4
    compiles = False  # XLA does not support ImageProjectiveTransformV3

    def __init__(self, channels: int, parts: Sequence[int] = ()):
        super().__init__(channels, parts)
        self._resample = _Resample(0, fill_mode='reflect', interpolation='bilinear', **_SHARED)

    def _change(self, images, numbers):
        zoom = 1 + _column(_spread(numbers[0], ZOOM), 1)  # [b, 1]
        turn = _column(_spread(numbers[1], 2 * math.pi * ROTATION), 1)
        right, down = (_column(_spread(n, TRANSLATION), 1) for n in numbers[2:])
        others = tf.concat([zoom, turn, right, down], axis=1)
        return self._resample.augment_images(images, transformations={'width_zooms': zoom, 'height_zooms': others})


class Erase(Policy):
    """A rectangle turned gray in half of the images: its content has to be guessed from around it."""

    num_random = 5
    compiles = True

    def __init__(self, channels: int, parts: Sequence[int] = ()):
        super().__init__(channels, parts)
        self._cutout = keras_cv.layers.RandomCutout(0, 0, fill_value=ERASE_LEVEL, **_SHARED)

    def _change(self, images, numbers):
        # Only integers are used: rounding floats to pixels may differ under XLA.
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        erased = tf.cast(numbers[0] < int(ERASE_SHARE * NUMBERS), tf.int32)

        def side(length, number):
            shortest, longest = (length // part for part in ERASE_SIDES)
            return erased * (shortest + _below(number, longest - shortest + 1))  # a side of 0 erases nothing

        return self._cutout.augment_images(
            images,
            transformations={
                'centers_x': _below(numbers[1], width),
                'centers_y': _below(numbers[2], height),
                'rectangles_width': side(width, numbers[3]),
                'rectangles_height': side(height, numbers[4]),
            },
        )


class Strong(Policy):
    """Color, then Affine."""

    num_random = Color.num_random + Affine.num_random
    compiles = False  # like Affine

    def __init__(self, channels: int, parts: Sequence[int] = ()):
        super().__init__(channels, parts)
        self._color, self._affine = Color(channels), Affine(channels)

    def _change(self, images, numbers):
        return self._affine._change(
            self._color._change(images, numbers[: Color.num_random]), numbers[Color.num_random :]
        )


POLICIES: dict[str, type[Policy]] = {
    'light': Light,
    'color': Color,
    'affine': Affine,
    'erase': Erase,
    'strong': Strong,
}


def make_policy(name: str, channels: int, parts: Sequence[int] = ()) -> Policy:
    """Makes a policy by its name, for images with this number of channels, or with those of stacked images: see Policy.

    Raises:
        UserError: (a ValueError) no policy has that name.
    """
    if name not in POLICIES:
        raise UserError(f"augment '{name}' is not one of: {', '.join(POLICIES)}.")
    return POLICIES[name](channels, parts)


class _Resample(keras_cv.layers.RandomZoom):
    """RandomZoom whose single resampling also rotates and shifts.

    RandomRotation, RandomZoom and RandomTranslation in a row would resample three times: the mean difference between
    neighbouring pixels of the demo's photographs then falls to 61 percent, and with a single resampling to 81.
    """

    def get_zoom_matrix(self, zooms, image_height, image_width, name=None):
        """Where each pixel of the result comes from.

        Args:
            zooms: float32 [b, 5]: zoom; and of the transformation's 'height_zooms': zoom (above 1 shows more), rotation
                in radians (counter-clockwise), shift to the right and downwards as shares of the image.
            image_height, image_width: float32 scalars.

        Returns:
            float32 [b, 8]: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5, and two zeros.
        """
        _, zoom, turn, right, down = tf.split(zooms, 5, axis=1)
        x, y = (image_width - 1) / 2, (image_height - 1) / 2  # the centre, which only the shift moves
        cos, sin = zoom * tf.cos(turn), zoom * tf.sin(turn)
        to_x, to_y = x + right * image_width, y + down * image_height
        zero = tf.zeros_like(zoom)
        rows = [cos, -sin, x - cos * to_x + sin * to_y, sin, cos, y - sin * to_x - cos * to_y, zero, zero]
        return tf.concat(rows, axis=1)


def _spread(number: tf.Tensor, strength: float) -> tf.Tensor:
    """int32 [b] in [0, 2**24) -> float32 [b] in [-strength, strength); 2**23 -> 0."""
    return (tf.cast(number, tf.float32) * (2 / NUMBERS) - 1) * strength


def _below(number: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """int32 [b] in [0, 2**24) -> int32 [b] in [0, count), for a count up to 2**16; above, the product overflows."""
    return (number // 2**9) * count // 2**15


def _column(values: tf.Tensor, axes: int) -> tf.Tensor:
    """[b] -> [b, 1, ...] with `axes` ones."""
    return tf.reshape(values, [-1] + [1] * axes)

"""Augmentation policies: KerasCV's layers, driven by numbers that are handed in.

The training images themselves are changed, not what the discriminators are shown of real and translated images alike.
So a policy widens the two domains that the translators learn: what it does to photographs will be found in the
translations. (Zhao et al. 2020, arXiv 2006.10738, DiffAugment, who change both, saw little gain from changing the
training images alone.) The strengths are therefore a fraction of DiffAugment's, which are cited beside them, and there
is no policy for blur and noise: soft or grainy images would be among those that a translator should make.

What an image becomes is a function of the image and its numbers: KerasCV's layers work, their random state does not.
Each is called by `augment_images(images, transformations=...)`, KerasCV's own division between drawing and doing.

KerasCV is slow to import; whoever needs no policy should not import this module.
"""

from __future__ import annotations

import abc
import contextlib
import io
import math

import tensorflow as tf

from cyclegan_tf.errors import UserError

with contextlib.redirect_stdout(io.StringIO()):  # it says 'Using TensorFlow backend' where results belong
    import keras_cv

NUMBERS = 2**24  # how many numbers there are to draw from: the integers that float32 holds exactly

# Each change is drawn evenly from -strength to +strength, 0 being no change.
BRIGHTNESS = 0.08  # of the range, added: 20 levels; DiffAugment 0.25
CONTRAST = 0.2  # times 0.8 to 1.2 about each channel's mean; DiffAugment 0.5
SATURATION = 0.25  # times 0.75 to 1.25; DiffAugment 1
HUE = 0.02  # of a turn: 7 degrees. Not in DiffAugment; more makes skin and grass implausible
ROTATION = 5 / 360  # of a turn. Not in DiffAugment; more shows the mirrored border
ZOOM = 0.1  # of the size. Not in DiffAugment; StarGAN v2 (core/data_loader.py) crops to 0.8 of the area: 0.9 of a side
TRANSLATION = 1 / 32  # of the size; DiffAugment 1/8. More shows the mirrored border, and the random crop shifts, too

# Erased rectangles: half of the images have none, so that whole images remain what a domain mostly consists of
# (Karras et al. 2020, arXiv 2006.06676: what is done to most of the images, the generator learns to do).
ERASE_SHARE = 1 / 2
ERASE_SIDES = (8, 4)  # from an eighth to a quarter of the image's side; DiffAugment always a half
ERASE_LEVEL = 127.5  # 0 for the networks, as in DiffAugment

# The layers' arguments that all share. Keras's policy may be bfloat16, images are float32; a seed because without one
# the layers use TensorFlow's global generator, which does not exist under deterministic operations.
_SHARED = dict(dtype='float32', seed=1)


class Policy(abc.ABC):
    """One way to change images. An instance has no state: it may be traced as often as one likes, but is to be made
    outside of tf.function, because KerasCV's layers make variables (the generators that are not used).

    Args:
        channels: of the images. With fewer than 3, images are gray: saturation and hue do not apply. A fourth is alpha:
            light and colour leave it as it is; the geometry and the erased rectangle take all channels alike.
    """

    num_random: int
    """How many integers each image consumes."""

    compiles: bool
    """Whether XLA compiles it; one that does not takes images of any height and width in one trace."""

    def __init__(self, channels: int):
        self._channels = channels

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Changes each image by its own numbers.

        Args:
            images: float32 [b, h, w, c] in [0, 255].
            numbers: int32 [b, num_random] in [0, 2**24), evenly distributed. Draw them outside XLA and as integers: the
                floats of one seed differ between XLA and plain execution. 2**23 everywhere means no change.

        Returns:
            float32 [b, h, w, c] in [0, 255].
        """
        changed = self._change(images, tf.unstack(numbers, num=self.num_random, axis=1))
        return tf.ensure_shape(tf.clip_by_value(changed, 0.0, 255.0), images.shape)

    @abc.abstractmethod
    def _change(self, images: tf.Tensor, numbers: list[tf.Tensor]) -> tf.Tensor:
        """numbers: `num_random` times int32 [b]."""

    def _on_colours(self, change, images: tf.Tensor) -> tf.Tensor:
        """Applies change to all channels but alpha."""
        if self._channels < 4:
            return change(images)
        return tf.concat([change(images[..., :3]), images[..., 3:]], axis=-1)


class Light(Policy):
    """Brightness and contrast: another exposure; colours keep their hue. For domains that differ in colour."""

    num_random = 2
    compiles = True

    def __init__(self, channels: int):
        super().__init__(channels)
        # Here and below: a factor of 0 is one that nothing is drawn from.
        self._brightness = keras_cv.layers.RandomBrightness(0, value_range=(0, 255), **_SHARED)
        self._contrast = keras_cv.layers.RandomContrast((0, 255), 0, **_SHARED)

    def _change(self, images, numbers):
        def change(x):
            # RandomBrightness takes levels, RandomContrast factors, both [b, 1, 1, 1].
            x = self._brightness.augment_images(x, transformations=_column(255 * _spread(numbers[0], BRIGHTNESS), 3))
            return self._contrast.augment_images(x, transformations=_column(1 + _spread(numbers[1], CONTRAST), 3))

        return self._on_colours(change, images)


class Color(Policy):
    """Light, then saturation and hue; Light alone for gray images."""

    num_random = Light.num_random + 2
    compiles = True

    def __init__(self, channels: int):
        super().__init__(channels)
        self._light = Light(channels)
        self._saturation = keras_cv.layers.RandomSaturation(0, **_SHARED)
        self._hue = keras_cv.layers.RandomHue(0, value_range=(0, 255), **_SHARED)

    def _change(self, images, numbers):
        def change(x):
            saturation = 1 + _spread(numbers[2], SATURATION)
            # RandomSaturation multiplies by t / (1 - t); RandomHue adds turns; both [b].
            x = self._saturation.augment_images(x, transformations=saturation / (1 + saturation))
            return self._hue.augment_images(x, transformations=_spread(numbers[3], HUE))

        images = self._light._change(images, numbers[:2])
        return images if self._channels < 3 else self._on_colours(change, images)


class Affine(Policy):
    """Rotation, zoom and translation, small; beyond its border an image goes on mirrored."""

    num_random = 4
    compiles = False  # XLA knows no ImageProjectiveTransformV3

    def __init__(self, channels: int):
        super().__init__(channels)
        self._resample = _Resample(0, fill_mode='reflect', interpolation='bilinear', **_SHARED)

    def _change(self, images, numbers):
        zoom = 1 + _column(_spread(numbers[0], ZOOM), 1)  # [b, 1]
        turn = _column(_spread(numbers[1], 2 * math.pi * ROTATION), 1)
        right, down = (_column(_spread(n, TRANSLATION), 1) for n in numbers[2:])
        others = tf.concat([zoom, turn, right, down], axis=1)
        return self._resample.augment_images(images, transformations={'width_zooms': zoom, 'height_zooms': others})


class Erase(Policy):
    """In half of the images a rectangle turned gray: what is there has to be guessed from around it."""

    num_random = 5
    compiles = True

    def __init__(self, channels: int):
        super().__init__(channels)
        self._cutout = keras_cv.layers.RandomCutout(0, 0, fill_value=ERASE_LEVEL, **_SHARED)

    def _change(self, images, numbers):
        # In integers throughout: rounding floats to pixels may fall differently under XLA.
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        erased = tf.cast(numbers[0] < int(ERASE_SHARE * NUMBERS), tf.int32)

        def side(length, number):
            least, most = (length // part for part in ERASE_SIDES)
            return erased * (least + _below(number, most - least + 1))  # no side, no rectangle

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
    compiles = False  # as Affine

    def __init__(self, channels: int):
        super().__init__(channels)
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


def make_policy(name: str, channels: int) -> Policy:
    """A policy by its name, for images of so many channels.

    Raises:
        UserError: (a ValueError) no policy is called that.
    """
    if name not in POLICIES:
        raise UserError(f"augment '{name}' is not one of: {', '.join(POLICIES)}.")
    return POLICIES[name](channels)


class _Resample(keras_cv.layers.RandomZoom):
    """RandomZoom, whose one resampling also turns and shifts.

    RandomRotation, RandomZoom and RandomTranslation in a row would resample three times: the mean difference between
    neighbouring pixels of the demo's photographs then falls to 61 percent, by one resampling to 81.
    """

    def get_zoom_matrix(self, zooms, image_height, image_width, name=None):
        """Where each pixel of the result comes from.

        Args:
            zooms: float32 [b, 5]: zoom, and the transformation's 'height_zooms': zoom (above 1 shows more), turn in
                radians (counter-clockwise), shift to the right and downwards in parts of the image.
            image_height, image_width: float32 scalars.

        Returns:
            float32 [b, 8]: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5, and two zeros.
        """
        _, zoom, turn, right, down = tf.split(zooms, 5, axis=1)
        x, y = (image_width - 1) / 2, (image_height - 1) / 2  # the centre stays where the shift takes it
        cos, sin = zoom * tf.cos(turn), zoom * tf.sin(turn)
        to_x, to_y = x + right * image_width, y + down * image_height
        zero = tf.zeros_like(zoom)
        rows = [cos, -sin, x - cos * to_x + sin * to_y, sin, cos, y - sin * to_x - cos * to_y, zero, zero]
        return tf.concat(rows, axis=1)


def _spread(number: tf.Tensor, strength: float) -> tf.Tensor:
    """int32 [b] in [0, 2**24) -> float32 [b] in [-strength, strength), 2**23 to 0."""
    return (tf.cast(number, tf.float32) * (2 / NUMBERS) - 1) * strength


def _below(number: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """int32 [b] in [0, 2**24) -> int32 [b] in [0, count), for a count up to 2**16: beyond, the product overflows."""
    return (number // 2**9) * count // 2**15


def _column(values: tf.Tensor, axes: int) -> tf.Tensor:
    """[b] -> [b, 1, ...] with so many ones."""
    return tf.reshape(values, [-1] + [1] * axes)

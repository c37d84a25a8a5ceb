"""Differentiable augmentation: random changes to all images that a discriminator sees (Zhao et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cyclegan_tf.networks.shapes import sides
from cyclegan_tf.ops.random import integers

TRANSLATION = 1 / 8  # largest shift, as a share of a side
CUTOUT = 1 / 2  # side of the square that is cut out, as a share of a side
_STEPS = 2**24  # random numbers are multiples of its inverse


def augment(images: tf.Tensor, seeds: tf.Tensor, names: Sequence[str], coloured: int) -> tf.Tensor:
    """Changes images at random so that gradients reach them: an image's changes depend on its own seed alone, so that a
    real image and a fake of the same seed are changed alike.

    color: x + b with b in [-0.5, 0.5); then m + s (x - m), m the mean over a pixel's channels, s in [0, 2); then
    m + c (x - m), m the mean over the image, c in [0.5, 1.5). Values may leave [-1, 1].
    translation: moved by up to an eighth of each side, with zeros in the gap.
    cutout: zeros in a rectangle of half of each side, whose centre is anywhere.

    Args:
        images: float [b, h, w, c] in [-1, 1], b known.
        seeds: int [b, 2].
        names: any of 'color', 'translation', 'cutout'; they are applied in this order.
        coloured: number of channels, counted from the last, that `color` changes. The others are an image to which the
            judged one belongs.

    Returns:
        float [b, h, w, c].
    """
    if not names:
        return images
    numbers = tf.stack([integers([7], seed, _STEPS) for seed in tf.unstack(seeds)])  # [b, 7]
    uniform = tf.cast(numbers, images.dtype)[..., None, None, None] / _STEPS  # [b, 7, 1, 1, 1] in [0, 1)
    if 'color' in names:
        images = _color(images, uniform[:, 0], uniform[:, 1], uniform[:, 2], coloured)
    if 'translation' in names:
        images = _translation(images, numbers[:, 3:5])
    return _cutout(images, numbers[:, 5:7]) if 'cutout' in names else images


def _color(images, brightness, saturation, contrast, coloured):
    others, x = images[..., : images.shape[-1] - coloured], images[..., -coloured:]
    x = x + (brightness - 0.5)
    for factor, axes in ((saturation * 2, [3]), (contrast + 0.5, [1, 2, 3])):
        mean = tf.reduce_mean(x, axes, keepdims=True)
        x = mean + factor * (x - mean)
    return tf.concat([others, x], axis=-1)


def _below(numbers: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Integers in [0, count) from integers in [0, _STEPS)."""
    return tf.cast(tf.cast(numbers, tf.int64) * tf.cast(count, tf.int64) // _STEPS, tf.int32)


def _translation(images, numbers):
    _, height, width, _ = sides(images)
    moved = []
    for image, of_image in zip(tf.unstack(images), tf.unstack(numbers)):
        for axis, side in enumerate((height, width)):
            largest = _share(side, TRANSLATION)
            shift = _below(of_image[axis], 2 * largest + 1) - largest
            # Rolling and a mask: XLA cannot pad by a number that it does not know.
            place = tf.range(side) - shift
            inside = tf.cast((place >= 0) & (place < side), image.dtype)
            image = tf.roll(image, shift, axis) * tf.reshape(inside, [-1, 1, 1] if axis == 0 else [1, -1, 1])
        moved.append(image)
    return tf.stack(moved)


def _cutout(images, numbers):
    _, height, width, _ = sides(images)
    along = []
    for axis, side in enumerate((height, width)):
        size = _share(side, CUTOUT)
        # The first row or column that is cut out: that of the centre, anywhere, less half of the rectangle.
        first = _below(numbers[:, axis], side + 1 - size % 2)[:, None] - size // 2
        place = tf.range(side)[None]
        along.append((place >= first) & (place < first + size))  # [b, side]
    rectangle = along[0][:, :, None, None] & along[1][:, None, :, None]
    return tf.where(rectangle, tf.zeros_like(images), images)


def _share(side, share: float):
    """A share of a side, rounded to the next integer."""
    if isinstance(side, int):
        return int(side * share + 0.5)
    return tf.cast(tf.cast(side, tf.float32) * share + 0.5, tf.int32)

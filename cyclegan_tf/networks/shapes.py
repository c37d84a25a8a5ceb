"""Shapes of batches of images: known sizes, the sizes that a network takes, and padding to these."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError


def sides(x: tf.Tensor) -> list:
    """The length of each axis: a Python integer where it is known, so that values computed from it are constants."""
    if x.shape.is_fully_defined():
        return x.shape.as_list()
    return [known if known is not None else size for known, size in zip(x.shape, tf.unstack(tf.shape(x)))]


def check_images(x: tf.Tensor, channels: int, smallest_side: int = 1, multiple: int = 1) -> None:
    """Checks the static shape of a batch of images: the sides and channels that are known when it is traced.

    Args:
        x: [b, h, w, c].
        channels: number of channels that the network takes.
        smallest_side: minimum height and width that it takes.
        multiple: number of which height and width must be multiples.

    Raises:
        UserError: the network cannot take such images.
    """
    _, height, width, given = x.shape
    if given is not None and given != channels:
        raise UserError(
            f'The images have {given} channels, the network takes {channels}; make it with input_channels {given}.'
        )
    for name, side in (('height', height), ('width', width)):
        if side is not None and side < smallest_side:
            raise UserError(f'The {name} of the images ({side}) is below {smallest_side}, the minimum; enlarge them.')
        if side is not None and side % multiple:
            raise UserError(
                f'The {name} of the images ({side}) is not a multiple of {multiple}, as this generator needs; '
                f'resize them.'
            )


def least_side(multiple: int) -> int:
    """The minimum side of the images that a generator takes, in pixels.

    Args:
        multiple: the generator's side_multiple. For a ResNet it is at most 4, and the bottleneck must be at least 2x2,
            since it is padded by mirroring.
    """
    return max(2 * multiple, 8) if multiple <= 4 else multiple


def mirrored(side: int, padded: int) -> np.ndarray:
    """For each of `padded` pixels along an axis of an image that pad_to_multiple pads: the pixel that is there."""
    place = np.arange(padded) % max(2 * (side - 1), 1)
    return side - 1 - np.abs(side - 1 - place)


def pad_to_multiple(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pads images to the next multiple, and at least to `least_side`, by mirroring at the right and the bottom.

    This gathers pixels by index, since tf.pad cannot mirror more pixels than an image has.

    Args:
        images: [n, h, w, c], h and w at least 1.
        multiple: number of which the padded sides are multiples.

    Returns:
        [n, padded h, padded w, c], of the same dtype.
    """
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        padded = tf.maximum((side + multiple - 1) // multiple * multiple, least_side(multiple))
        # Indices run back and forth without repeating the ends: 0 1 2 1 0 1 2 ... for three pixels.
        place = tf.range(padded) % tf.maximum(2 * (side - 1), 1)
        images = tf.gather(images, side - 1 - tf.abs(side - 1 - place), axis=axis)
    return images

"""Shapes of batches of images: which sides are known, which a network takes, and padding to those."""

from __future__ import annotations

import tensorflow as tf

from cyclegan_tf.errors import UserError


def sides(x: tf.Tensor) -> list:
    """The length of each axis: a Python integer where it is known, so that what follows from it is a constant."""
    if x.shape.is_fully_defined():
        return x.shape.as_list()
    return [known if known is not None else size for known, size in zip(x.shape, tf.unstack(tf.shape(x)))]


def check_images(x: tf.Tensor, channels: int, smallest_side: int = 1, multiple: int = 1) -> None:
    """Looks at the static shape of a batch of images: at the sides and channels that are known when it is traced.

    Args:
        x: [b, h, w, c].
        channels: that the network takes.
        smallest_side: the least height and width that it takes.
        multiple: of what both have to be multiples.

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
            raise UserError(f'The {name} of the images ({side}) is below {smallest_side}, the least the network takes.')
        if side is not None and side % multiple:
            raise UserError(
                f'The {name} of the images ({side}) is no multiple of {multiple}, which this U-Net needs; '
                f'resize them, or make a generator with name resnet_9blocks.'
            )


def least_side(multiple: int) -> int:
    """The shortest side that a generator takes, in pixels.

    Args:
        multiple: the generator's side_multiple. Of a ResNet it is 4, and its bottleneck, which is padded by mirroring,
            has to be 2x2 at least.
    """
    return max(2 * multiple, 8) if multiple <= 4 else multiple


def pad_to_multiple(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """Sides up to the next multiple, and to `least_side`, mirrored at the right and the bottom.

    By indices: tf.pad cannot mirror more than there is.

    Args:
        images: [n, h, w, c], h and w at least 1.
        multiple: of what the sides have to be multiples.

    Returns:
        The same dtype.
    """
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        padded = tf.maximum((side + multiple - 1) // multiple * multiple, least_side(multiple))
        # There and back without repeating the ends: 0 1 2 1 0 1 2 ... of three.
        place = tf.range(padded) % tf.maximum(2 * (side - 1), 1)
        images = tf.gather(images, side - 1 - tf.abs(side - 1 - place), axis=axis)
    return images

"""Shapes of batches of images: the sides as far as they are known, and which a network can take."""

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

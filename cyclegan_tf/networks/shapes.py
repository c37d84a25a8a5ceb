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
    """Raises UserError where the static shape of a batch of images is one that the network cannot take."""
    _, height, width, given = x.shape
    if given is not None and given != channels:
        raise UserError(f'The images have {given} channels, the network takes {channels}; set input_nc or output_nc.')
    for name, side in (('height', height), ('width', width)):
        if side is not None and side < smallest_side:
            raise UserError(f'The {name} of the images ({side}) is below {smallest_side}, the least the network takes.')
        if side is not None and side % multiple:
            raise UserError(
                f'The {name} of the images ({side}) is no multiple of {multiple}, which this U-Net needs; '
                f'set crop_size to one, or take netG resnet_9blocks.'
            )

"""A run's test images: the sizes at which they are translated, and a few of them for pictures during training."""

from __future__ import annotations

import dataclasses
from typing import Optional

import numpy as np

from cyclegan_tf.data import decode, preprocess
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.training_data import make_geometry, open_sources
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.settings.training import Config

_LONGEST_SIDE = 512  # of a picture of a test image, in pixels, unless training sees larger ones


def make_test_geometry(config: Config, load_size: Optional[int], argument: str = 'load_size') -> Geometry:
    """The sizes at which images are translated: as the run's preprocess gives them, without a crop.

    Args:
        config: the run's settings.
        load_size: overrides the run's size; None: the run's size.
        argument: the name of the argument with load_size, for messages.

    Raises:
        UserError: the networks do not accept load_size, or the run's preprocess does not resize.
    """
    # The discriminators, which need larger images, are not used on them.
    geometry = dataclasses.replace(make_geometry(config), least=max(8, config.side_multiple))
    if load_size is None:
        return geometry
    if config.preprocess in ('crop', 'none'):
        raise UserError(
            f'`{argument}` ({load_size}) has no meaning for this run, whose preprocess {config.preprocess} keeps the '
            f'size of images that are translated; leave it out.'
        )
    if load_size % config.side_multiple:
        raise UserError(
            f'`{argument}` ({load_size}) is not a multiple of {config.side_multiple}, which netG {config.netG} needs; '
            f'set it to one.'
        )
    # resize_and_crop takes the size from crop_size, as the reference's test program does.
    if config.preprocess == 'resize_and_crop':
        return dataclasses.replace(geometry, crop_size=load_size)
    # The other values take the width from load_size. crop_size, their minimum height, was meant for a crop.
    return dataclasses.replace(geometry, load_size=load_size, crop_size=min(config.crop_size, geometry.least))


def open_test_pictures(config: Config, count: int, console: Console) -> Optional[list[tuple[np.ndarray, np.ndarray]]]:
    """A few test images of both domains at the scale of training; of large images, only the centre.

    Its sides are at most 512 pixels, or crop_size if that is larger, rounded down to what the networks accept: training
    may see small squares of photographs that would not fit into memory as a whole.

    Returns:
        Pairs (real_a, real_b), float32 [1, h, w, c] in [-1, 1]; None if there are none.
    """
    try:
        opened = open_sources(config, 'test', count)
    except UserError as error:
        console.line(f'No pictures of test images after each epoch: {error}')
        return None
    geometry = make_geometry(config)
    if config.preprocess == 'resize_and_crop':
        # At load_size, since training sees images at that size, through the crop; the reference's test program uses
        # crop_size.
        geometry = dataclasses.replace(geometry, crop_size=config.load_size)
    longest = max(config.crop_size, _LONGEST_SIDE) // config.side_multiple * config.side_multiple
    for line in dict.fromkeys(line for source in opened for line in source.notes):
        console.line(f'Test images: {line}')
    pictures = []
    for source, channels in zip(opened, config.channels.values()):
        domain_pictures: dict[int, np.ndarray] = {}
        for index in range(len(source)):
            try:
                picture, _ = preprocess.read_uncropped(source, index, geometry, channels)
                domain_pictures[index] = _centre(picture, longest)[None]
            except decode.BadImage as error:
                console.line(f'Skipped: {source.label(index)}: {error}')
        pictures.append(domain_pictures)
    if opened[0].pairing:  # an image takes its counterpart along
        both = sorted(set(pictures[0]) & set(pictures[1]))
        pictures = [{index: of_domain[index] for index in both} for of_domain in pictures]
    return list(zip(*(of_domain.values() for of_domain in pictures))) or None


def _centre(picture: np.ndarray, longest: int) -> np.ndarray:
    """The centre of [h, w, c], with sides of at most `longest`; a copy, which keeps nothing else in memory."""
    top, left = (max(0, side - longest) // 2 for side in picture.shape[:2])
    return picture[top : top + longest, left : left + longest].copy()

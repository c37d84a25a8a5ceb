"""Exact sizes in every way to preprocess, compared with the reference's formulas."""

import pytest

from cyclegan_tf.data.geometry import PREPROCESS, Geometry


def reference(preprocess, width, height, load_size, crop_size):
    """Width and height before the crop, as REFERENCE's transforms (PIL) compute them."""
    if preprocess == 'resize_and_crop':
        return load_size, load_size
    if preprocess in ('scale_width', 'scale_width_and_crop'):
        if width == load_size and height >= crop_size:
            return width, height
        return load_size, int(max(load_size * height / width, crop_size))
    if preprocess == 'none':
        return int(round(width / 4) * 4), int(round(height / 4) * 4)
    return width, height


@pytest.mark.parametrize('preprocess', PREPROCESS)
@pytest.mark.parametrize('width, height', [(400, 300), (301, 407), (286, 256), (286, 200), (1000, 333), (310, 258)])
def test_sizes_before_the_crop_are_the_references(preprocess, width, height):
    expected = reference(preprocess, width, height, 286, 256)
    if preprocess == 'crop':
        expected = (
            expected if min(expected) >= 256 else tuple(round(side * 256 / min(width, height)) for side in expected)
        )
    if preprocess == 'scale_width':  # rounded besides, since nothing is cut
        expected = tuple(round(side / 4) * 4 for side in expected)
    assert Geometry(preprocess, 286, 256).loaded(width, height) == expected


@pytest.mark.parametrize(
    'preprocess, size, expected',
    [
        ('crop', (100, 50), (512, 256)),  # enlarged until the crop fits, in proportion
        ('crop', (50, 101), (256, 517)),
        ('crop', (256, 255), (257, 256)),
        ('scale_width_and_crop', (1000, 100), (286, 256)),
        ('none', (5, 3), (24, 24)),
        ('none', (10, 30), (24, 32)),  # 30 / 4 = 7.5 goes to the even 8
        ('scale_width', (1000, 100), (288, 256)),
    ],
)
def test_small_images_are_enlarged(preprocess, size, expected):
    assert Geometry(preprocess, 286, 256, multiple=4, least=24).loaded(*size) == expected


def test_sides_are_rounded_to_what_the_u_net_takes():
    geometry = Geometry('none', 286, 256, multiple=128, least=128)
    assert geometry.loaded(300, 200) == (256, 256)
    assert geometry.loaded(500, 60) == (512, 128)


@pytest.mark.parametrize(
    'preprocess, expected',
    [
        ('resize_and_crop', (256, 256)),
        ('crop', (400, 300)),
        ('none', (400, 300)),
        ('scale_width', (288, 256)),
        ('scale_width_and_crop', (288, 256)),
    ],
)
def test_nothing_is_cut_from_images_to_translate(preprocess, expected):
    assert Geometry(preprocess, 286, 256).uncropped(401, 299) == expected


def test_which_images_are_enlarged():
    assert Geometry('crop', 286, 256).enlarges(300, 255) and not Geometry('crop', 286, 256).enlarges(256, 256)
    assert Geometry('none', 286, 256, least=24).enlarges(300, 23) and not Geometry('none', 286, 256).enlarges(99, 99)

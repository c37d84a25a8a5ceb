"""Sizes at which test images are translated, and what is shown of large ones after each epoch."""

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import test_images
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.training import Config
from tests.helpers import program


@pytest.mark.parametrize(
    'preprocess, expected',
    [('resize_and_crop', (512, 512)), ('scale_width', (512, 256)), ('scale_width_and_crop', (512, 256))],
)
def test_load_size_at_test_time_keeps_the_proportions_that_preprocess_keeps(preprocess, expected):
    config = Config(dataroot='demo', preprocess=preprocess, load_size=360)
    assert test_images.make_test_geometry(config, 512).uncropped(1024, 512) == expected
    smaller = test_images.make_test_geometry(config, 128).uncropped(1024, 512)
    assert smaller == tuple(side // 4 for side in expected)  # also below the crop


@pytest.mark.parametrize('preprocess', ['crop', 'none'])
def test_load_size_at_test_time_is_refused_where_nothing_is_resized(preprocess):
    config = Config(dataroot='demo', preprocess=preprocess)
    assert test_images.make_test_geometry(config, None).uncropped(1024, 512) == (1024, 512)
    with pytest.raises(
        UserError, match='`eval_load_size` .512. has no meaning for this run, whose preprocess .*; leave it out'
    ):
        test_images.make_test_geometry(config, 512, 'eval_load_size')


@pytest.mark.parametrize(
    'flags, sides',
    [
        (('--preprocess=crop', '--crop_size=32'), (512, 300)),
        (('--preprocess=crop', '--crop_size=600'), (600, 300)),
        (('--preprocess=none', '--crop_size=32', '--netG=unet_128'), (512, 256)),
    ],
)
def test_of_large_test_images_the_centre_is_shown_after_each_epoch(tmp_path, flags, sides):
    for domain in 'AB':
        (tmp_path / f'test{domain}').mkdir()
        pixels = np.zeros((1400, 300, 3), np.uint8)
        pixels[700:] = 255  # the middle of the image is that of the picture
        Image.fromarray(pixels).save(tmp_path / f'test{domain}' / 'tall.png')
    config = parse(Config, ['train', f'--dataroot={tmp_path}', *program.SMALL, *flags])
    ((real_a, real_b),) = test_images.open_test_pictures(config, 4, Console(1))
    assert real_a.shape == real_b.shape == (1, *sides, 3)
    assert (real_a[0, : sides[0] // 2 - 9] < -0.9).all() and (real_a[0, sides[0] // 2 + 9 :] > 0.9).all()

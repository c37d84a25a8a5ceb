"""What the tests of data share: a photograph, and folders of them."""

import pytest


@pytest.fixture(scope='module')
def photograph():
    """uint8 [48, 64, 3]."""
    import numpy as np
    from PIL import Image

    from cyclegan_tf.data import demo

    picture = Image.fromarray(demo.regions('test', 'A')['chelsea'])
    return np.asarray(picture.resize((64, 48), Image.BICUBIC))


@pytest.fixture
def photographs_folder(tmp_path):
    """A data set (tmp_path / 'data') of photographs of several sizes, JPEG and PNG: trainA and trainB."""
    from PIL import Image

    from cyclegan_tf.data import demo

    for part in ('trainA', 'trainB'):
        (tmp_path / 'data' / part).mkdir(parents=True)
        for i, pixels in enumerate(demo.regions('test', 'A').values()):
            picture = Image.fromarray(pixels).crop((0, 0, 90 + 16 * i, 256 - 20 * i))
            picture.save(tmp_path / 'data' / part / (f'{i}.jpg' if i % 2 else f'{i}.png'), quality=92)
    return tmp_path / 'data'

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

"""Decoded images, and the same in 16 bits."""

import numpy as np

from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import set_channels


def deep(photograph):
    """The same with 16 bits, the lower ones in use."""
    return photograph.astype(np.uint16) * 257 - (photograph > 0) * np.uint16(100)


def read(data, channels=3):
    """Decoded, and the header's word for it checked."""
    header = decode.check(data)
    array = decode.to_array(decode.decode(data))
    assert (header.height, header.width) == array.shape[:2]
    assert header.channels == array.shape[-1]
    assert header.bits == 8 * array.dtype.itemsize
    return decode.to_array(set_channels(decode.decode(data), channels))

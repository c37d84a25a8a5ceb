"""Stamps of a source's images."""

import os

from cyclegan_tf.data import sources


def test_a_stamp_changes_with_the_file(image_folders):
    source = sources.open_domains(str(image_folders), 'train')[0]
    before = [source.stamp(i) for i in range(2)]
    path = image_folders / 'trainA' / '0.png'
    os.utime(path, ns=(1, 1))
    assert source.stamp(0) != before[0] and source.stamp(1) == before[1]

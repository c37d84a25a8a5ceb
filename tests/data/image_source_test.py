"""Names and stamps of a source's images."""

import os

from cyclegan_tf.data import sources
from cyclegan_tf.data.image_source import unique_names


def test_a_stamp_changes_with_the_file(image_folders):
    source = sources.open_domains(str(image_folders), 'train')[0]
    before = [source.stamp(i) for i in range(2)]
    path = image_folders / 'trainA' / '0.png'
    os.utime(path, ns=(1, 1))
    assert source.stamp(0) != before[0] and source.stamp(1) == before[1]


def test_names_are_unique_whatever_the_files_are_called():
    paths = ['a.jpg', 'a.png', 'a_jpg.png', 'b.png', 'sub/a.jpg', 'a_png_2.bmp', 'a_png.bmp']
    assert unique_names(paths) == ['a_jpg_2', 'a_png_3', 'a_jpg', 'b', 'sub/a', 'a_png_2', 'a_png']

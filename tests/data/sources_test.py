"""What names open: folders anywhere, halves of images, the demo; records_test.py has TensorFlow Datasets."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode, demo, sources
from cyclegan_tf.errors import UserError


def names(*arguments, **settings):
    return [source.names for source in sources.open_domains(*arguments, **settings)]


# ------------------------------------------------------------------------------------------------------------ folders
def test_folders_are_walked_sorted_then_cut(image_folders):
    deep = image_folders / 'trainA' / 'b' / 'deep'
    deep.mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(deep / 'x.JPG')
    (image_folders / 'trainA' / 'notes.txt').write_text('no image')
    assert names(str(image_folders), 'train')[0] == ('0', '1', '2', '3', '4', 'b/deep/x')
    assert names(str(image_folders), 'train', max_size=2) == [('0', '1'), ('0', '1')]


def test_images_that_differ_in_their_ending_alone_keep_distinct_names(image_folders):
    Image.new('RGB', (8, 8)).save(image_folders / 'trainA' / '0.jpg')
    found = names(str(image_folders), 'train')[0]
    assert len(set(found)) == len(found) == 6


def test_names_with_spaces_and_other_letters(image_folders):
    Image.new('RGB', (8, 8), 'red').save(image_folders / 'trainA' / 'ein schönes Pferd 馬.png')
    source = sources.open_domains(str(image_folders), 'train')[0]
    assert source.names[-1] == 'ein schönes Pferd 馬'
    assert decode.to_array(source.picture(5))[0, 0].tolist() == [255, 0, 0]


def test_a_name_that_is_no_utf8_is_reported(image_folders):
    path = os.path.join(os.fsencode(image_folders), b'trainA', b'\xff\xfe.png')
    open(path, 'wb').close()
    with pytest.raises(UserError, match=r'is not UTF-8 \(.*xff.*rename it'):
        sources.open_domains(str(image_folders), 'train')


def test_folders_may_be_wherever_tensorflow_reaches():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    for part in ('trainA', 'trainB'):
        tf.io.gfile.makedirs(f'ram://data/{part}/deep')
        with tf.io.gfile.GFile(f'ram://data/{part}/deep/x.png', 'wb') as file:
            file.write(tf.io.encode_png(pixels).numpy())
    source = sources.open_domains('ram://data', 'train')[0]
    assert source.names == ('deep/x',) and source.label(0) == 'ram://data/trainA/deep/x.png'
    np.testing.assert_array_equal(decode.to_array(source.picture(0)), pixels)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda root: '/nowhere/at/all', "`dataroot` .'/nowhere/at/all'. is not a folder; set it to"),
        (
            lambda root: (root / 'trainB').rename(root / 'other') and root,
            r'has no folder trainB \(folders in it: other',
        ),
        (lambda root: [p.unlink() for p in (root / 'trainA').iterdir()] and root, "trainA' holds no images; put files"),
    ],
)
def test_what_is_missing_is_named(image_folders, change, message):
    result = change(image_folders)
    with pytest.raises(UserError, match=message):
        sources.open_domains(str(result), 'train')


# -------------------------------------------------------------------------------------------------- aligned and single
def test_aligned_images_hold_a_in_the_left_half_and_b_in_the_right(tmp_path):
    (tmp_path / 'train').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 21, 3), np.uint8)  # of an odd width
    Image.fromarray(pixels).save(tmp_path / 'train' / 'x.png')
    Image.fromarray(pixels[..., 0]).save(tmp_path / 'train' / 'y.tif')
    a, b = sources.open_domains(str(tmp_path), 'train', 'aligned')
    assert a.names == b.names == ('x', 'y')
    np.testing.assert_array_equal(decode.to_array(a.picture(0)), pixels[:, :10])
    np.testing.assert_array_equal(decode.to_array(b.picture(0)), pixels[:, 10:20])
    np.testing.assert_array_equal(decode.to_array(b.picture(1))[..., 0], pixels[:, 10:20, 0])
    header = a.cut_header(decode.read_header(a.read(0)))
    assert (header.width, header.height) == (10, 6)


def test_single_is_the_folder_itself(image_folders):
    (source,) = sources.open_domains(str(image_folders / 'trainB'), 'test', 'single')
    assert source.names == ('0', '1', '2', '3', '4')


# ----------------------------------------------------------------------------------------------------------- the demo
def test_demo_is_read_as_it_was_made():
    for phase in ('train', 'test'):
        for domain, source in zip('AB', sources.open_domains('demo', phase)):
            pictures = demo.regions(phase, domain)
            assert source.names == tuple(pictures)
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(source.read(3)))), list(pictures.values())[3]
            )

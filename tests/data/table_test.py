"""Tables of decoded images: sizes, depth, where they are kept, what happens to broken ones."""

import dataclasses
import errno
import os

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import decode
from cyclegan_tf.data.geometry import PREPROCESS, Geometry
from cyclegan_tf.errors import UserError
from tests.helpers.image_tables import make_table


def rows(table):
    """All images of a table, which have one size, [n, h, w, c]."""
    return np.stack([table.row(index) for index in range(len(table))])


@pytest.mark.parametrize('size', [64, 180, 300])
def test_resizing_is_pillows_bicubic_up_and_down_after_pillows_decoding(photographs_folder, tmp_path, size):
    table = make_table(photographs_folder, tmp_path, load=size)
    for index, path in enumerate(sorted((photographs_folder / 'trainA').iterdir())):
        expected = Image.open(path).convert('RGB').resize((size, size), Image.BICUBIC)
        np.testing.assert_array_equal(table.row(index), np.asarray(expected))


@pytest.mark.parametrize('preprocess_', PREPROCESS)
@pytest.mark.parametrize('where', ['none', 'memory', 'disk'])
def test_images_have_the_exact_size_wherever_they_are_kept(photographs_folder, tmp_path, preprocess_, where):
    table = make_table(photographs_folder, tmp_path, preprocess_=preprocess_, load=120, crop=104)
    if where != 'none':
        table.keep(where, str(tmp_path), 2)
    geometry = Geometry(preprocess_, 120, 104)
    for index, path in enumerate(sorted((photographs_folder / 'trainA').iterdir())):
        image = Image.open(path).convert('RGB')
        size = geometry.loaded(*image.size)
        image = np.asarray(image if image.size == size else image.resize(size, Image.BICUBIC))
        np.testing.assert_array_equal(table.row(index), image)
        if geometry.crops:
            top, left = ((n * (side - 104 + 1)) >> 24 for n, side in zip((2**23, 2**24 - 1), image.shape))
            assert left == image.shape[1] - 104 and top in ((image.shape[0] - 104) // 2, (image.shape[0] - 103) // 2)
            cut = table.row(index, (2**23, 2**24 - 1))
            np.testing.assert_array_equal(cut, image[top : top + 104, left : left + 104])
    assert table.result_size() == ((104, 104) if geometry.crops else None)


def test_a_disk_cache_is_used_again_and_made_anew_when_an_image_changes(photographs_folder, tmp_path, monkeypatch):
    decoded, original = [], decode.decode_with_metadata
    monkeypatch.setattr(decode, 'decode_with_metadata', lambda data, of: decoded.append(1) or original(data, of))

    def keep(load=40):
        decoded.clear()
        table = make_table(photographs_folder, tmp_path, load=load)
        table.keep('disk', str(tmp_path), 2)
        return table, len(decoded)

    first, count = keep()
    assert count == 7
    again, count = keep()
    assert count == 0
    np.testing.assert_array_equal(rows(first), rows(again))
    assert keep(load=44)[1] == 7
    Image.new('RGB', (99, 98), 'blue').save(photographs_folder / 'trainA' / '2.png')
    changed, count = keep()
    assert count == 7 and changed.row(2)[0, 0].tolist() == [0, 0, 255]
    assert not list((tmp_path / 'images').glob('*.part'))


def test_a_disk_cache_that_was_cut_off_is_made_anew(photographs_folder, tmp_path):
    table = make_table(photographs_folder, tmp_path)
    table.keep('disk', str(tmp_path), 2)
    expected = rows(table)
    (pixels,) = (tmp_path / 'images').glob('*.pixels')
    os.truncate(pixels, 1000)
    table = make_table(photographs_folder, tmp_path)
    table.keep('disk', str(tmp_path), 2)
    np.testing.assert_array_equal(rows(table), expected)


def test_what_was_decoded_before_is_decoded_when_it_is_first_read_and_only_then(
    photographs_folder, tmp_path, monkeypatch
):
    expected = rows(make_table(photographs_folder, tmp_path))
    decoded, original = [], decode.decode_with_metadata
    monkeypatch.setattr(decode, 'decode_with_metadata', lambda data, of: decoded.append(1) or original(data, of))
    table = make_table(photographs_folder, tmp_path)
    before = [index != 3 for index in range(7)]
    assert table.keep('memory', str(tmp_path), 2, before) == [] and len(decoded) == 1
    assert [table.holds(index) for index in range(7)] == [not one for one in before]
    for _ in range(2):
        np.testing.assert_array_equal(rows(table), expected)
    assert len(decoded) == 7 and all(map(table.holds, range(7)))
    # On the disk all images have to be there before the file is complete.
    table = make_table(photographs_folder, tmp_path)
    table.keep('disk', str(tmp_path), 2, before)
    assert len(decoded) == 14 and all(map(table.holds, range(7)))


def test_sixteen_bits_are_kept_beside_eight(tmp_path):
    (tmp_path / 'trainA').mkdir()
    (tmp_path / 'trainB').mkdir()
    wide = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 13
    (tmp_path / 'trainA' / 'deep.png').write_bytes(imagecodecs.png_encode(wide))
    Image.fromarray((wide >> 8).astype(np.uint8)).save(tmp_path / 'trainA' / 'plain.png')
    Image.fromarray((wide >> 8).astype(np.uint8)).save(tmp_path / 'trainB' / 'plain.png')
    for where in ('none', 'memory', 'disk'):
        table = make_table(tmp_path, tmp_path, channels=1, load=64)
        if where != 'none':
            table.keep(where, str(tmp_path), 2)
        images = rows(table)
        assert images.dtype == table.dtype == np.uint16 and images.shape == (2, 64, 64, 1)
        np.testing.assert_array_equal(images[0, ..., 0], wide)
        np.testing.assert_array_equal(images[1, ..., 0], (wide >> 8) * 257)
    assert make_table(tmp_path, tmp_path, domain=1).dtype == np.uint8
    assert make_table(tmp_path, tmp_path, domain=0, channels=3).row(0).shape == (36, 36, 3)


# ------------------------------------------------------------------------------------------------------ broken images
def cut_off(root):
    """Cuts two images off, which were whole when they were looked at."""
    for name in ('2.png', '3.jpg'):
        path = root / 'trainA' / name
        path.write_bytes(path.read_bytes()[:2000])


def test_images_that_turn_bad_are_all_named_when_they_are_kept(photographs_folder, tmp_path):
    table = make_table(photographs_folder, tmp_path)
    cut_off(photographs_folder)
    with pytest.raises(UserError, match=r'(?s)^2 of 7 images cannot be used.*2\.png: .*3\.jpg: '):
        table.keep('memory', str(tmp_path), 2)


@pytest.mark.parametrize('where', ['memory', 'disk'])
def test_images_that_turn_bad_are_left_out_of_what_is_kept(photographs_folder, tmp_path, where):
    whole = rows(make_table(photographs_folder, tmp_path))[[0, 1, 4, 5, 6]]
    tables = [make_table(photographs_folder, tmp_path, skip=True) for _ in range(2)]
    cut_off(photographs_folder)
    for table in tables:  # the second time from the disk, if there
        lines = table.keep(where, str(tmp_path), 2)
        assert len(lines) == 2 and '2.png' in lines[0] and '3.jpg' in lines[1]
        assert len(table) == 5 and table.replaced == 0
        np.testing.assert_array_equal(rows(table), whole)


def test_images_that_were_away_for_a_moment_are_not_left_out_for_good(photographs_folder, tmp_path):
    def away(index):
        if index == 2:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(index)

    expected, left_out = rows(make_table(photographs_folder, tmp_path)), []
    for moment in (away, away, None, None):
        table = make_table(photographs_folder, tmp_path, skip=True)
        read = table._source.data
        table._source = dataclasses.replace(table._source, data=moment or read)
        left_out.append(len(table.keep('disk', str(tmp_path), 2)))
    assert left_out == [1, 1, 0, 0] and len(list((tmp_path / 'images').glob('*.pixels'))) == 1
    np.testing.assert_array_equal(rows(table), expected)


def test_images_that_turn_bad_are_named_or_replaced_when_they_are_read(photographs_folder, tmp_path):
    strict, table = (make_table(photographs_folder, tmp_path, skip=skip) for skip in (False, True))
    cut_off(photographs_folder)
    with pytest.raises(UserError, match=r'2\.png cannot be used: .*; replace or remove it') as caught:
        strict.row(2)
    assert strict.failure is caught.value
    np.testing.assert_array_equal(table.row(2), table.row(4))  # the next one that is whole
    np.testing.assert_array_equal(table.row(3), table.row(4))
    assert table.replaced == 2 and len(table) == 7

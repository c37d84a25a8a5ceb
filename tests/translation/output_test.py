"""The files of results: which format and type they have, their values, and what they keep of the image's file."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from cyclegan_tf.data import decode
from cyclegan_tf.data.pictures import Metadata, ReadOptions, resized
from cyclegan_tf.errors import UserError
from cyclegan_tf.translation import output
from cyclegan_tf.translation.output import Output

CT = (-1024.0, 3071.0)


@pytest.mark.parametrize(
    'depth, value_range, found, dtype',
    [
        ('auto', None, 'uint8', 'uint8'),
        ('auto', None, 'uint16', 'uint16'),
        ('8', None, 'uint16', 'uint8'),
        ('16', None, 'uint8', 'uint16'),
        ('float', None, 'uint8', 'float32'),
        ('auto', CT, 'int16', 'int16'),
        ('auto', CT, 'int32', 'int32'),
        ('auto', CT, 'int64', 'int16'),
        ('auto', (0.0, 1e6), 'uint16', 'float32'),
        ('auto', CT, 'uint16', 'float32'),  # which has no negative numbers
        ('auto', CT, 'float64', 'float32'),
        ('16', CT, 'float32', 'int16'),
        ('8', CT, 'int16', 'uint8'),
        ('float', CT, 'int16', 'float32'),
        ('16', (0.0, 4095.0), 'int16', 'uint16'),
        ('auto', (0.0, 4095.0), 'uint8', 'float32'),
        ('auto', (0.0, 1.0), 'uint16', 'float32'),  # of which whole numbers would leave two
    ],
)
def test_the_type_of_the_stored_values(depth, value_range, found, dtype):
    assert Output(depth, value_range=value_range).dtype(np.dtype(found)) == dtype


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(depth='16', value_range=(0.0, 1.0)), '`output_depth` .16. cannot store values from 0 to 1 as whole'),
        (dict(depth='16', value_range=(0.0, 1e6)), 'from 0 to 1e.06 as whole numbers of 16 bits; set it to float'),
        (dict(depth='float', format='png'), '`output_format` .png. cannot hold floating-point numbers'),
        (dict(depth='16', format='png', value_range=CT), '`output_format` .png. cannot hold negative numbers'),
    ],
)
def test_what_cannot_be_stored_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Output(**settings)


def test_what_becomes_a_png():
    assert Output().is_png(np.uint8, 3, False) and Output().is_png(np.uint16, 4, True)
    for dtype, channels, has_alpha in ((np.float32, 3, False), (np.int16, 1, False), (np.uint8, 5, False),
                                       (np.uint8, 4, False), (np.uint8, 2, False)):  # fmt: skip
        assert not Output().is_png(dtype, channels, has_alpha)
    assert not Output(format='tiff').is_png(np.uint8, 3, False)
    refusal = Output(format='png').refusal(np.dtype(np.uint8), 4, False)
    assert refusal.startswith('`output_format` (png) cannot hold 4 channels of uint8, none of them alpha; set it to')


def test_values():
    floats = np.float32([[[-1.0], [0.0], [1.0]]])
    assert Output().values(floats, np.dtype(np.uint8)).ravel().tolist() == [0, 128, 255]
    assert Output('float').values(floats, np.dtype(np.float32)).ravel().tolist() == [0, 0.5, 1]
    assert Output(value_range=CT).values(floats, np.dtype(np.int16)).ravel().tolist() == [-1024, 1024, 3071]
    assert Output('8', value_range=CT).values(floats, np.dtype(np.uint8)).ravel().tolist() == [0, 128, 255]


GEO = {
    33550: (12, 3, (10.0, 10.0, 0.0)),
    33922: (12, 6, (2.0, 4.0, 0.0, 500000.0, 4600000.0, 0.0)),
    34735: (3, 4, (1, 1, 0, 0)),
    34737: (2, 0, 'WGS 84 / UTM'),
}


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize('channels', [1, 2, 3, 4, 7])
def test_tiffs_are_read_as_they_were_written(tmp_path, dtype, channels):
    picture = (np.random.default_rng(0).random((300, 270, channels)) * 100).astype(dtype)
    profile = imagecodecs.cms_profile('adobergb')
    metadata = Metadata(icc_profile=profile, resolution=(72.0, 96.0, 'CENTIMETER'), geotiff=GEO)
    output.write_tiff(tmp_path / 'a' / 'x.tif', picture, metadata)
    parts = (picture[top : top + 70] for top in range(0, 300, 70))
    output.write_tiff_by_rows(tmp_path / 'y.tif', parts, picture.shape, picture.dtype, metadata)
    for path in (tmp_path / 'a' / 'x.tif', tmp_path / 'y.tif'):
        options = ReadOptions((channels,), value_range=(0.0, 1.0))
        found, read = decode.decode_with_metadata(path.read_bytes(), options)
        np.testing.assert_array_equal(decode.to_array(found), picture)
        assert read.dtype == dtype and read.resolution == metadata.resolution and read.geotiff == GEO
        assert read.has_bands == (channels not in (1, 3))
        with tifffile.TiffFile(path) as file:
            assert len(file.pages) == 1 and file.pages[0].tags[34675].value == profile
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['a', 'x.tif', 'y.tif']


def test_alpha_stays_alpha(tmp_path):
    picture = np.full((8, 8, 4), 9, np.uint8)
    output.write_tiff(tmp_path / 'x.tif', picture, Metadata(has_alpha=True))
    assert decode.check((tmp_path / 'x.tif').read_bytes()).has_alpha


@pytest.mark.parametrize('kind', [1, 2])  # places of corners or of centres
def test_resizing_keeps_places_on_the_map(kind):
    """A point of the image is at the same place before and after; 4.5 is the centre of the fifth pixel."""
    shift = 0.5 if kind == 2 else 0

    def place(geotiff, x, y):
        scale, points = geotiff[33550][2], geotiff[33922][2]
        return points[3] + (x - shift - points[0]) * scale[0], points[4] - (y - shift - points[1]) * scale[1]

    tags = {**GEO, 34735: (3, 8, (1, 1, 0, 1, 1025, 0, 1, kind))}
    metadata = Metadata(resolution=(72.0, 72.0, 'INCH'), geotiff=tags)
    larger = resized(metadata, (2.0, 4.0))
    assert larger.resolution == (144.0, 288.0, 'INCH')
    assert place(larger.geotiff, 200, 400) == pytest.approx(place(tags, 100, 100))
    matrix = (2.0, 0.5, 0.0, 7.0, 0.5, -3.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    by_matrix = Metadata(geotiff={34264: (12, 16, matrix), 34735: tags[34735]})
    moved = np.reshape(resized(by_matrix, (2.0, 4.0)).geotiff[34264][2], (4, 4))
    before = np.reshape(matrix, (4, 4)) @ [100 - shift, 100 - shift, 0, 1]
    assert moved @ [200 - shift, 400 - shift, 0, 1] == pytest.approx(before)
    assert resized(metadata, (1, 1)) is metadata


def test_a_picture_appears_whole_or_not_at_all(tmp_path):
    def rows():
        yield np.zeros((300, 8, 3), np.uint8)
        raise OSError('full')

    with pytest.raises(OSError, match='full'):
        output.write_tiff_by_rows(tmp_path / 'x.tif', rows(), (600, 8, 3), np.dtype(np.uint8), Metadata())
    assert not list(tmp_path.iterdir())

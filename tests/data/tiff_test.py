"""TIFFs as people's programs write them: bands, pages, colours, values; and large ones read row by row."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from cyclegan_tf.data import decode, tiff
from cyclegan_tf.data.pictures import BadImage, ReadOptions
from tests.helpers.decoded import read
from tests.helpers.image_files import encode
from tests.helpers.image_files import tiff as encode_tiff


def random(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def options(channels, **others):
    return ReadOptions((channels,), **others)


def decoded(data, of):
    """The image, and the header's word for it checked."""
    header, array = decode.check(data, of), decode.to_array(decode.decode(data, of))
    assert (header.height, header.width, header.channels) == array.shape
    return array


# --------------------------------------------------------------------------------------------------------------- bands
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('planes', [False, True])
@pytest.mark.parametrize('bands', [2, 4, 5, 6, 13, 16])
def test_every_band_of_a_tiff_is_read(dtype, planes, bands):
    pixels = random(9, 11, bands, dtype=dtype)
    for photometric in ('minisblack', 'rgb') if bands > 3 else ('minisblack',):
        extra = ['unspecified'] * (bands - (3 if photometric == 'rgb' else 1))
        written = np.moveaxis(pixels, -1, 0) if planes else pixels
        data = encode_tiff(
            written, photometric=photometric, planarconfig='separate' if planes else 'contig', extrasamples=extra
        )
        np.testing.assert_array_equal(decoded(data, options(bands)), pixels)
        if bands > 4:
            with pytest.raises(BadImage, match=f'it has {bands} channels, which cannot be converted to 3'):
                read(data, 3)


def test_a_fourth_band_that_is_no_alpha_is_dropped_and_never_becomes_alpha(photograph):
    band = random(48, 64, 1)
    data = encode_tiff(np.dstack([photograph, band]), photometric='rgb', extrasamples=['unspecified'])
    picture, metadata = decode.decode_with_metadata(data, options(3))
    np.testing.assert_array_equal(decode.to_array(picture), photograph)
    assert metadata.has_bands and not metadata.has_alpha and not decode.check(data).has_alpha
    assert decode.check(data).note == 'band 4, which is not marked as alpha, is not used'
    assert not decode.check(data, options(4)).note
    with_alpha = encode_tiff(np.dstack([photograph, band]), photometric='rgb', extrasamples=['unassalpha'])
    picture, metadata = decode.decode_with_metadata(with_alpha, options(3))
    assert picture.mode == 'RGBA' and metadata.has_alpha and not metadata.has_bands


def test_premultiplied_alpha_is_undone_as_pillow_does(photograph):
    alpha = np.maximum(photograph[..., :1], 16)
    colours = (photograph.astype(int) * alpha // 255).astype(np.uint8)
    data = encode_tiff(np.dstack([colours, alpha]), photometric='rgb', extrasamples=['assocalpha'])
    expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGBA'))
    np.testing.assert_array_equal(decode.to_array(decode.decode(data, options(4))), expected)


# --------------------------------------------------------------------------------------------------------------- pages
def test_an_array_of_rows_columns_and_bands_is_one_image():
    pixels = random(40, 48, 13, dtype=np.uint16)
    data = encode_tiff(pixels)  # of which tifffile makes 40 pages
    assert len(tifffile.TiffFile(io.BytesIO(data)).pages) == 40
    np.testing.assert_array_equal(decoded(data, options(13)), pixels)
    assert decode.check(data, options(3)).note == '40 pages; page 1 is used'


@pytest.mark.parametrize('form', ['imagej', 'ome'])
def test_pages_that_are_marked_as_channels_are_one_image(form):
    pixels = random(5, 20, 24, dtype=np.uint16)
    data = encode_tiff(pixels, **{form: True}, metadata={'axes': 'CYX'}, photometric='minisblack')
    np.testing.assert_array_equal(decoded(data, options(5)), np.moveaxis(pixels, 0, -1))


def test_other_pages_are_channels_only_where_that_is_said():
    pages = random(3, 20, 24, dtype=np.uint16)
    data = encode_tiff(pages, photometric='minisblack')
    assert decode.check(data).note == '3 pages; page 1 is used'
    np.testing.assert_array_equal(read(data, 1)[..., 0], pages[0])
    together = options(3, pages_are_channels=True)
    np.testing.assert_array_equal(decoded(data, together), np.moveaxis(pages, 0, -1))
    with pytest.raises(BadImage, match='its 3 pages are not 4 channels of equal size'):
        decode.check(data, options(4, pages_are_channels=True))
    plain = encode_tiff(pages[0])
    np.testing.assert_array_equal(decoded(plain, options(1, pages_are_channels=True))[..., 0], pages[0])


def test_the_largest_of_several_pages_is_used_and_the_first_among_equals(photograph):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels in (photograph[:12, :16], photograph, 255 - photograph):
            writer.write(pixels, photometric='rgb', metadata=None)
    np.testing.assert_array_equal(read(file.getvalue()), photograph)
    assert decode.check(file.getvalue()).note == '3 pages; page 2 is used'


# ------------------------------------------------------------------------------------------------- colours and kinds
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_cielab_becomes_the_colours_it_means(photograph, dtype):
    to_lab = ImageCms.buildTransform(ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB')
    lab = np.asarray(ImageCms.applyTransform(Image.fromarray(photograph), to_lab))
    if dtype == np.uint16:  # 256 times as much, of which the lightness reaches to the end
        chroma = (lab[..., 1:].astype(np.int8).astype(np.int16) * 256).astype(np.uint16)
        lab = np.concatenate([lab[..., :1].astype(np.uint16) * 257, chroma], axis=-1)
    data = encode_tiff(lab, photometric='cielab')
    found = read(data)
    assert found.dtype == dtype
    difference = np.abs(found / (257 if dtype == np.uint16 else 1) - photograph)
    assert difference.mean() < 1.5 and np.percentile(difference, 99) < 8


def test_palettes_and_two_levels_and_four_bits_fill_the_range():
    indices = random(10, 12) % 16
    table = random(3, 256, dtype=np.uint16)
    data = encode_tiff(indices, photometric='palette', colormap=table)
    np.testing.assert_array_equal(read(data), np.moveaxis(table >> 8, 0, -1)[indices])
    bits = indices % 2 > 0
    np.testing.assert_array_equal(read(encode_tiff(bits, photometric='minisblack'), 1)[..., 0], bits * 255)
    file = io.BytesIO()
    Image.fromarray(bits).save(file, 'TIFF', compression='group4')
    np.testing.assert_array_equal(read(file.getvalue(), 1)[..., 0], bits * 255)
    packed = (indices[:, ::2] << 4 | indices[:, 1::2]).astype(np.uint8)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:  # two samples in each byte
        writer.write(
            iter([packed.tobytes()]), shape=indices.shape, dtype=np.uint8, bitspersample=4, photometric='minisblack',
            rowsperstrip=10, metadata=None, compression=1,
        )  # fmt: skip
    np.testing.assert_array_equal(read(file.getvalue(), 1)[..., 0], indices * 17)


@pytest.mark.parametrize('compression', ['jpeg', 'tiff_lzw', 'tiff_adobe_deflate', 'webp', 'packbits'])
def test_compressions_are_those_of_pillow_or_better(photograph, compression):
    if compression == 'webp':  # unknown to Pillow in a TIFF
        data = encode_tiff(photograph, photometric='rgb', compression='webp', compressionargs={'lossless': True})
        np.testing.assert_array_equal(read(data), photograph)
        return
    data = encode(photograph, 'TIFF', compression=compression)
    np.testing.assert_array_equal(read(data), np.asarray(Image.open(io.BytesIO(data)).convert('RGB')))


def test_subsampled_colours_without_jpeg_are_read_with_pillow(photograph):
    ycc = np.asarray(Image.fromarray(photograph).convert('YCbCr'))
    data = encode_tiff(ycc, photometric='ycbcr', compression='lzw')
    assert np.abs(read(data).astype(int) - photograph).max() <= 3


@pytest.mark.parametrize('dtype', ['int8', 'int16', 'int32', 'uint32', 'float16', 'float32', 'float64'])
def test_values_beyond_levels_need_a_range_and_stay_as_they_are(dtype):
    values = (np.random.default_rng(0).normal(size=(8, 9)) * 50).astype(dtype)
    data = encode_tiff(values)
    message = f'its values are {dtype}; train with --value_range=LOW,HIGH, which become black and white'
    with pytest.raises(BadImage, match=message):
        decode.check(data)
    of = options(1, value_range=(-100.0, 100.0))
    array = decoded(data, of)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array[..., 0], values)
    header = decode.check(data, of)
    assert (header.kind, header.bits) == (np.dtype(dtype).kind, max(8, 8 * np.dtype(dtype).itemsize))
    assert header.values == (values.min(), values.max())


def test_what_is_no_number_is_refused():
    values = np.ones((8, 9), np.float32)
    values[3, 4] = np.nan
    with pytest.raises(BadImage, match='some of its values are not finite numbers'):
        decode.check(encode_tiff(values), options(1, value_range=(0.0, 1.0)))
    with pytest.raises(BadImage, match='its values are complex64; store it as real numbers'):
        decode.check(encode_tiff(values.astype(np.complex64)), options(1, value_range=(0.0, 1.0)))


def test_twelve_bits_fill_the_range_unless_their_values_are_wanted():
    values = random(16, 16, dtype=np.uint16) % 4096
    file = io.BytesIO()
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    with tifffile.TiffWriter(file) as writer:
        writer.write(
            iter([packed.astype(np.uint8).tobytes()]), shape=values.shape, dtype=np.uint16, bitspersample=12,
            photometric='minisblack', rowsperstrip=16, metadata=None, compression=1,
        )  # fmt: skip
    np.testing.assert_array_equal(read(file.getvalue(), 1)[..., 0], np.round(values * (65535 / 4095)))
    raw = decode.to_array(decode.decode(file.getvalue(), options(1, value_range=(0.0, 4095.0))))
    np.testing.assert_array_equal(raw[..., 0], values)


# --------------------------------------------------------------------------------------------------------- row by row
ROWS = {
    'plain': {},
    'plain big-endian': {'byteorder': '>'},
    'strips': {'compression': 'zlib', 'rowsperstrip': 16},
    'tiles': {'compression': 'zlib', 'tile': (32, 48)},
    'tiles of JPEG': {'compression': 'jpeg', 'tile': (32, 48)},
    'BigTIFF': {'bigtiff': True, 'compression': 'lzw', 'rowsperstrip': 7},
}


@pytest.mark.parametrize(
    'form, dtype', [(form, np.uint8) for form in ROWS] + [(form, np.uint16) for form in ROWS if 'JPEG' not in form]
)
def test_rows_are_those_of_the_whole_image(tmp_path, photograph, form, dtype):
    pixels = np.tile(photograph, (3, 2, 1)).astype(dtype)
    path = tmp_path / 'x.tif'
    path.write_bytes(encode_tiff(pixels, photometric='rgb', **ROWS[form]))
    whole = decode.to_array(decode.decode(path.read_bytes()))
    rows = tiff.Rows(str(path), ReadOptions())
    assert (rows.height, rows.width, rows.channels) == pixels.shape and rows.dtype == dtype
    for top, bottom in ((0, 1), (0, 144), (5, 40), (31, 33), (143, 144)):
        np.testing.assert_array_equal(rows.read(top, bottom), whole[top:bottom])
    rows.close()


def test_rows_that_are_not_there_or_no_numbers(tmp_path):
    values = np.ones((64, 48), np.float32)
    values[40, 3] = np.nan
    options = {'compression': 'zlib', 'rowsperstrip': 16}
    (tmp_path / 'x.tif').write_bytes(encode_tiff(values, **options))
    rows = tiff.Rows(str(tmp_path / 'x.tif'), ReadOptions((1,), value_range=(0.0, 1.0)))
    assert rows.read(0, 32).shape == (32, 48, 1)
    with pytest.raises(BadImage, match='some of its values are not finite'):
        rows.read(30, 50)
    bits = encode_tiff(np.ones((64, 48), bool), photometric='minisblack', **options)
    (tmp_path / 'x.tif').write_bytes(bits)
    rows = tiff.Rows(str(tmp_path / 'x.tif'), ReadOptions((1,)))
    assert rows.metadata.dtype == np.uint8 and (rows.read(0, 64) == 255).all()


def test_bands_beside_inks_are_bands(photograph):
    inks = np.asarray(Image.fromarray(photograph).convert('CMYK'))
    band = random(48, 64, 1)
    data = encode_tiff(np.dstack([inks, band]), photometric='separated', extrasamples=['unspecified'])
    array = decoded(data, options(4))
    np.testing.assert_array_equal(array[..., 3:], band)
    assert np.abs(array[..., :3].astype(int) - photograph).max() <= 2


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_where_zero_is_white_alpha_is_no_negative(dtype):
    gray, alpha = random(9, 11, dtype=dtype), random(9, 11, dtype=dtype)[::-1]
    options_of = {'photometric': 'miniswhite', 'extrasamples': ['unassalpha'], 'planarconfig': 'contig'}
    data = encode_tiff(np.dstack([np.iinfo(dtype).max - gray, alpha]), **options_of)
    np.testing.assert_array_equal(decoded(data, options(2)), np.dstack([gray, alpha]))


def test_where_zero_is_white_all_pages_are_inverted():
    pages = random(3, 20, 24)
    data = encode_tiff(255 - pages, photometric='miniswhite')
    together = options(3, pages_are_channels=True)
    np.testing.assert_array_equal(decoded(data, together), np.moveaxis(pages, 0, -1))


def test_inks_are_levels():
    for dtype in (np.float32, np.int16):
        data = encode_tiff(np.ones((8, 8, 4), dtype), photometric='separated')
        with pytest.raises(BadImage, match=f'its colours are CMYK in {np.dtype(dtype)}; store it as RGB'):
            decode.check(data, options(3, value_range=(0.0, 1.0)))


def test_volumes_are_refused():
    data = encode_tiff(random(3, 16, 16), volumetric=True, photometric='minisblack', tile=(1, 16, 16))
    with pytest.raises(BadImage, match='it is a volume of 3 slices'):
        decode.check(data)


@pytest.mark.parametrize(
    'make',
    [
        lambda a: encode_tiff(np.moveaxis(a, -1, 0), photometric='rgb', planarconfig='separate'),
        lambda a: encode_tiff(a, photometric='rgb', extratags=[(274, 3, 1, 6, True)]),
        lambda a: encode_tiff(a[..., 0], photometric='palette', colormap=np.zeros((3, 256), np.uint16)),
    ],
)
def test_what_cannot_be_read_row_by_row_says_so(tmp_path, photograph, make):
    path = tmp_path / 'x.tif'
    path.write_bytes(make(photograph))
    with pytest.raises(tiff.NotInRows):
        tiff.Rows(str(path), ReadOptions())
    path.write_bytes(encode_tiff(photograph, photometric='rgb'))
    with pytest.raises(tiff.NotInRows):  # too small to be worth it
        tiff.Rows(str(path), ReadOptions(), least=48 * 64 + 1)

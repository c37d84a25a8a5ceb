"""Images of 16 bits and TIFFs of every kind, from real files: no level is lost; and what is refused."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from cyclegan_tf.data import decode
from tests.helpers.decoded import deep, read
from tests.helpers.image_files import tiff

DEEP = {
    'png': imagecodecs.png_encode,
    'tiff': lambda a: tiff(a, photometric='rgb'),
    'tiff lzw': lambda a: tiff(a, photometric='rgb', compression='lzw'),
    'tiff deflate, planes': lambda a: tiff(
        np.moveaxis(a, -1, 0), photometric='rgb', planarconfig='separate', compression='zlib'
    ),
    'tiff big-endian': lambda a: tiff(a, photometric='rgb', byteorder='>'),
    'ppm': lambda a: b'P6\n64 48\n65535\n' + a.astype('>u2').tobytes(),
}


@pytest.mark.parametrize('format', DEEP)
def test_sixteen_bit_colour_keeps_every_level(photograph, format):
    array = read(DEEP[format](deep(photograph)))
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, deep(photograph))


@pytest.mark.parametrize('format', ['png', 'tiff', 'pgm'])
def test_sixteen_bit_gray_keeps_every_level(photograph, format):
    gray = np.ascontiguousarray(deep(photograph)[..., 0])
    data = {
        'png': lambda: imagecodecs.png_encode(gray),
        'tiff': lambda: tiff(gray),
        'pgm': lambda: b'P5\n64 48\n65535\n' + gray.astype('>u2').tobytes(),
    }[format]()
    np.testing.assert_array_equal(read(data, 1)[..., 0], gray)
    np.testing.assert_array_equal(read(data, 3), np.dstack([gray] * 3))


def test_depths_between_eight_and_sixteen_bits_fill_the_range(photograph):
    levels = photograph.astype(np.uint16) * 4  # 0..1020 of 1023
    ppm = read(b'P6\n64 48\n1023\n' + levels.astype('>u2').tobytes())
    np.testing.assert_array_equal(ppm, np.round(levels * (65535 / 1023)))


def test_tiff_where_zero_is_white_is_no_negative(photograph):
    gray = photograph[..., 0]
    np.testing.assert_array_equal(read(tiff(gray, photometric='miniswhite'), 1)[..., 0], 255 - gray)
    wide = deep(photograph)[..., 0]
    np.testing.assert_array_equal(read(tiff(wide, photometric='miniswhite'), 1)[..., 0], 65535 - wide)


def test_tiff_of_five_channels_goes_into_a_model_of_five():
    array = np.random.default_rng(0).integers(0, 256, (8, 9, 5), np.uint8)
    data = tiff(array, photometric='minisblack', planarconfig='contig')
    np.testing.assert_array_equal(read(data, 5), array)
    with pytest.raises(decode.BadImage, match='5 channels, which cannot be converted to 3'):
        read(data, 3)


@pytest.mark.parametrize('byteorder', '<>')
def test_cmyk_tiff_of_sixteen_bits_has_pillows_colours(photograph, byteorder):
    inks = Image.fromarray(photograph).convert('CMYK')
    inks = np.dstack([np.asarray(inks)[..., :3], photograph[..., 0] // 3])  # some black
    expected = np.asarray(Image.fromarray(inks, 'CMYK').convert('RGB')).astype(int)
    array = read(tiff(inks.astype(np.uint16) * 257, photometric='separated', byteorder=byteorder))
    assert array.dtype == np.uint16 and np.abs(array / 257 - expected).max() <= 1
    # Seven inks and one sample beyond them, as tifffile writes them: it marks all but four as beyond the colours.
    more = bytearray(tiff(np.dstack([inks, inks]).astype(np.uint16), photometric='separated', planarconfig='contig'))
    with tifffile.TiffFile(io.BytesIO(bytes(more))) as file:
        tag = file.pages[0].tags['ExtraSamples']
    more[tag.offset : tag.offset + 2] = (65000).to_bytes(2, 'little')  # unknown, so that there are eight inks
    with pytest.raises(decode.BadImage, match='its colours are those of 8 inks; store it as RGB'):
        decode.check(bytes(more))


# --------------------------------------------------------------------------------------------------- what is refused
BAD = {
    'cut 16-bit PNG': (lambda a: imagecodecs.png_encode(deep(a))[:-600], 'truncated'),
    'cut TIFF': (lambda a: tiff(deep(a), photometric='rgb')[:-600], 'read 18432 bytes, got 17832'),
    'float TIFF': (
        lambda a: tiff(a.astype(np.float32), photometric='rgb'),
        'its values are float32; train with --value_range=LOW,HIGH',
    ),
}


@pytest.mark.parametrize('kind', BAD)
def test_broken_images_are_refused_with_a_reason(photograph, kind):
    make, reason = BAD[kind]
    with pytest.raises(decode.BadImage, match=reason) as caught:
        decode.check(make(photograph))
    assert '\n' not in str(caught.value) and len(str(caught.value)) > 5

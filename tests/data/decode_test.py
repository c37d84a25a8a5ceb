"""Every format from a real file: pixels, channels, depth, orientation; and what is refused."""

import io

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode, demo
from tests.helpers.image_files import damage, encode, huge_png, tiff


@pytest.fixture(scope='module')
def photograph():
    """uint8 [48, 64, 3]."""
    picture = Image.fromarray(demo.regions('test', 'A')['chelsea'])
    return np.asarray(picture.resize((64, 48), Image.BICUBIC))


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
    return decode.to_array(decode.set_channels(decode.decode(data), channels))


LOSSLESS = {
    'png': lambda a: encode(a, 'PNG'),
    'png interlaced by TensorFlow': lambda a: tf.io.encode_png(a).numpy(),
    'bmp': lambda a: encode(a, 'BMP'),
    'tiff': lambda a: encode(a, 'TIFF'),
    'tiff lzw': lambda a: encode(a, 'TIFF', compression='tiff_lzw'),
    'tiff planes': lambda a: tiff(np.moveaxis(a, -1, 0), photometric='rgb', planarconfig='separate'),
    'webp': lambda a: encode(a, 'WEBP', lossless=True),
    'ppm': lambda a: encode(a, 'PPM'),
    'png with alpha': lambda a: encode(np.dstack([a, a[..., :1]]), 'PNG'),
}


@pytest.mark.parametrize('format', LOSSLESS)
def test_lossless_formats_keep_every_pixel(photograph, format):
    np.testing.assert_array_equal(read(LOSSLESS[format](photograph)), photograph)


def test_gif_gives_its_first_frame(photograph):
    frames = [Image.fromarray(x).quantize(64) for x in (photograph, 255 - photograph)]
    file = io.BytesIO()
    frames[0].save(file, 'GIF', save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(file.getvalue()), np.asarray(frames[0].convert('RGB')))


@pytest.mark.parametrize('quality, options', [(90, {}), (50, {'subsampling': 2}), (95, {'progressive': True})])
def test_jpeg_equals_pillow_and_tensorflows_accurate_decoder(photograph, quality, options):
    data = encode(photograph, 'JPEG', quality=quality, **options)
    np.testing.assert_array_equal(read(data), np.asarray(Image.open(io.BytesIO(data))))
    accurate = tf.io.decode_jpeg(data, dct_method='INTEGER_ACCURATE').numpy().astype(int)
    assert np.abs(read(data) - accurate).max() <= 1
    assert np.abs(read(data) - photograph.astype(int)).mean() < 8


def test_cmyk_jpeg_is_no_negative(photograph):
    data = encode(photograph, 'JPEG', mode='CMYK', quality=95)
    assert Image.open(io.BytesIO(data)).mode == 'CMYK'
    assert np.abs(read(data) - photograph.astype(int)).mean() < 4


@pytest.mark.parametrize('byteorder', '<>')
def test_cmyk_tiff_of_sixteen_bits_has_pillows_colours(photograph, byteorder):
    inks = Image.fromarray(photograph).convert('CMYK')
    inks = np.dstack([np.asarray(inks)[..., :3], photograph[..., 0] // 3])  # some black
    expected = np.asarray(Image.fromarray(inks, 'CMYK').convert('RGB')).astype(int)
    array = read(tiff(inks.astype(np.uint16) * 257, photometric='separated', byteorder=byteorder))
    assert array.dtype == np.uint16 and np.abs(array / 257 - expected).max() <= 1
    more = tiff(np.dstack([inks, inks[..., :1]]).astype(np.uint16), photometric='separated', planarconfig='contig')
    with pytest.raises(decode.BadImage, match='its colours are those of 5 inks; store it as RGB'):
        decode.check(more)


def test_palettes(photograph):
    plain = Image.fromarray(photograph).quantize(32)
    file = io.BytesIO()
    plain.save(file, 'PNG')
    np.testing.assert_array_equal(read(file.getvalue()), np.asarray(plain.convert('RGB')))
    file = io.BytesIO()
    plain.save(file, 'PNG', transparency=3)
    alpha = read(file.getvalue(), channels=4)[..., 3]
    np.testing.assert_array_equal(alpha == 0, np.asarray(plain) == 3)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA'])
def test_gray_kinds_of_png(photograph, mode):
    expected = Image.fromarray(photograph).convert(mode)
    file = io.BytesIO()
    expected.save(file, 'PNG')
    gray = np.asarray(expected.convert('L'))
    np.testing.assert_array_equal(read(file.getvalue(), 1)[..., 0], gray)
    np.testing.assert_array_equal(read(file.getvalue(), 3), np.dstack([gray] * 3))


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
    with pytest.raises(decode.BadImage, match='5 channels, which cannot be made 3'):
        read(data, 3)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_is_applied_in_eight_and_sixteen_bits(photograph, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = read(encode(photograph, 'PNG', exif=exif))
    np.testing.assert_array_equal(read(encode(photograph, 'TIFF', exif=exif)), expected)
    assert expected.shape[:2] == ((64, 48) if orientation >= 5 else (48, 64))
    turned = tiff(photograph.astype(np.uint16) * 257, photometric='rgb', extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(read(turned), expected.astype(np.uint16) * 257)


def test_channels_of_sixteen_bits_follow_pillow(photograph):
    wide = photograph.astype(np.uint16) * 257
    gray = decode.set_channels(wide, 1)[..., 0]
    expected = np.asarray(Image.fromarray(photograph).convert('L'))
    assert np.abs(gray / 257 - expected).max() <= 0.51
    assert (decode.set_channels(wide, 4)[..., 3] == 65535).all()
    np.testing.assert_array_equal(decode.set_channels(decode.set_channels(wide, 4), 3), wide)


@pytest.mark.parametrize('size', [(40, 30), (97, 71), (64, 20), (30, 90)])
def test_resizing_sixteen_bits_agrees_with_pillow_to_a_level(photograph, size):
    expected = np.asarray(Image.fromarray(photograph).resize(size, Image.BICUBIC)).astype(float)
    np.testing.assert_array_equal(decode.to_array(decode.resize(Image.fromarray(photograph), *size)), expected)
    wide = decode.resize(photograph.astype(np.uint16) * 257, *size)
    assert np.abs(np.round(wide / 257) - expected).max() <= 1  # Pillow rounds between its two passes


# --------------------------------------------------------------------------------------------------- what is refused
BAD = {
    'zero bytes': (lambda a: b'', 'empty'),
    'text': (lambda a: b'once upon a time', 'no image of a known format'),
    'cut JPEG': (lambda a: encode(a, 'JPEG')[:-600], 'truncated'),
    'cut JPEG with an end mark inside': (
        lambda a: encode(a, 'JPEG', exif=b'Exif\0\0thumbnail\xff\xd9')[:-600],
        'truncated',
    ),
    'PNG with a bad checksum': (lambda a: damage(encode(a, 'PNG'), 200), '(checksum|CRC|broken)'),
    'cut PNG': (lambda a: encode(a, 'PNG')[:-600], 'truncated'),
    'cut 16-bit PNG': (lambda a: imagecodecs.png_encode(deep(a))[:-600], 'truncated'),
    'cut TIFF': (lambda a: tiff(deep(a), photometric='rgb')[:-600], 'read 18432 bytes, got 17832'),
    'cut BMP': (lambda a: encode(a, 'BMP')[:-600], 'truncated'),
    'huge PNG': (lambda a: huge_png(), '60000x60000'),
    'float TIFF': (lambda a: tiff(a.astype(np.float32), photometric='rgb'), 'float32; store it with 8 or 16 bits'),
}


@pytest.mark.parametrize('kind', BAD)
def test_broken_images_are_refused_with_a_reason(photograph, kind):
    make, reason = BAD[kind]
    with pytest.raises(decode.BadImage, match=reason) as caught:
        decode.check(make(photograph))
    assert '\n' not in str(caught.value) and len(str(caught.value)) > 5


def test_what_follows_a_jpegs_end_does_no_harm(photograph):
    data = encode(photograph, 'JPEG')
    for tail in (b'\0' * 500, b'a film of two seconds' * 10_000):
        np.testing.assert_array_equal(read(data + tail), read(data))

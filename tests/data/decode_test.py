"""Every format from a real file: pixels, channels, depth, orientation; and what is refused."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode
from tests.helpers.decoded import read
from tests.helpers.image_files import damage, encode, huge_png, tiff

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


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_is_applied_in_eight_and_sixteen_bits(photograph, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = read(encode(photograph, 'PNG', exif=exif))
    np.testing.assert_array_equal(read(encode(photograph, 'TIFF', exif=exif)), expected)
    assert expected.shape[:2] == ((64, 48) if orientation >= 5 else (48, 64))
    turned = tiff(photograph.astype(np.uint16) * 257, photometric='rgb', extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(read(turned), expected.astype(np.uint16) * 257)


# --------------------------------------------------------------------------------------------------- what is refused
BAD = {
    'zero bytes': (lambda a: b'', 'empty'),
    'text': (lambda a: b'once upon a time', 'not an image of a known format'),
    'cut JPEG': (lambda a: encode(a, 'JPEG')[:-600], 'truncated'),
    'cut JPEG with an end mark inside': (
        lambda a: encode(a, 'JPEG', exif=b'Exif\0\0thumbnail\xff\xd9')[:-600],
        'truncated',
    ),
    'PNG with a bad checksum': (lambda a: damage(encode(a, 'PNG'), 200), '(checksum|CRC|broken)'),
    'cut PNG': (lambda a: encode(a, 'PNG')[:-600], 'truncated'),
    'cut BMP': (lambda a: encode(a, 'BMP')[:-600], 'truncated'),
    'huge PNG': (lambda a: huge_png(), '60000x60000'),
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

"""Every format from a real file: pixels, channels, depth, orientation; and what is refused."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms

from cyclegan_tf.data import decode
from tests.helpers import program
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


# ------------------------------------------------------------------------------------------------------- other formats
def test_a_transparent_colour_is_alpha_in_eight_bits_too(photograph):
    first = tuple(map(int, photograph[0, 0]))
    data = encode(photograph, 'PNG', transparency=first)
    expected = np.where((photograph == first).all(axis=-1), 0, 255)
    np.testing.assert_array_equal(read(data, 4)[..., 3], expected)
    np.testing.assert_array_equal(read(data, 3), photograph)
    gray = photograph[..., 0]
    data = encode(gray, 'PNG', transparency=int(gray[0, 0]))
    picture = decode.decode(data)
    assert picture.mode == 'LA'
    np.testing.assert_array_equal(np.asarray(picture)[..., 1], np.where(gray == gray[0, 0], 0, 255))


@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', [0, 9, 17, 'ASCII'])
def test_an_orientation_that_is_none_is_upright(photograph, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation == 'ASCII':  # the letter 6, which says 6 to nobody
        exif = b'Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\2\0\0\0\0026\0\0\0\0\0\0\0'
    options = {'lossless': True} if format == 'WEBP' else {}
    if (format, orientation) == ('TIFF', 'ASCII'):
        data = tiff(photograph, photometric='rgb', extratags=[(0x0112, 's', 0, '6', True)])
    else:
        data = encode(photograph, format, exif=exif, **options)
    assert read(data).shape == photograph.shape
    np.testing.assert_array_equal(read(data), np.asarray(Image.open(io.BytesIO(data))))


def test_broken_metadata_is_no_reason_to_refuse_an_image(photograph):
    plain = encode(photograph, 'PNG')
    chunk = lambda kind, body: struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))  # noqa: E731
    for extra in (
        chunk(b'eXIf', b'no EXIF at all'),
        chunk(b'eXIf', b'MM\0*\0\0\0\x08\xff\xff' + b'\1' * 40),
        chunk(b'zTXt', b'Raw profile type exif\0\0' + zlib.compress(b'\nexif\n      12\nzz no hex')),
        chunk(b'tEXt', b'Raw profile type exif\0\nexif\n 9999\n00'),
        chunk(b'zTXt', b'Comment\0\0' + zlib.compress(b'x' * 2_000_000)),  # more than Pillow unpacks
        chunk(b'iCCP', b'name\0\7' + zlib.compress(b'unknown compression')),
        chunk(b'tEXt', b'Comment\0wrong checksum')[:-1] + b'?',
    ):
        np.testing.assert_array_equal(read(plain[:33] + extra + plain[33:]), photograph)
    jpeg = encode(photograph, 'JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff')
    assert read(jpeg).shape == photograph.shape


def test_a_turn_is_kept_where_other_metadata_is_broken(photograph):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photograph, 'PNG', exif=exif)
    body = b'Comment\0\0' + zlib.compress(b'x' * 2_000_000)  # more than Pillow unpacks
    chunk = struct.pack('>I', len(body)) + b'zTXt' + body + struct.pack('>I', zlib.crc32(b'zTXt' + body))
    for at in (33, len(data) - 12):  # before the pixels, and behind them
        np.testing.assert_array_equal(read(data[:at] + chunk + data[at:]), read(data))


@pytest.mark.parametrize('bits', [8, 12, 16])
def test_jpeg_2000_keeps_every_level(photograph, bits):
    levels = photograph.astype(np.uint16) << (bits - 8) if bits > 8 else photograph
    data = imagecodecs.jpeg2k_encode(levels, level=0, bitspersample=bits)
    expected = np.round(levels * (65535 / (2**bits - 1))) if bits > 8 else photograph
    np.testing.assert_array_equal(read(data), expected)
    raw = decode.decode(data, decode.ReadOptions(value_range=(0.0, 1.0)))
    np.testing.assert_array_equal(decode.to_array(raw), levels)


@pytest.mark.parametrize('bits', [8, 10, 12])
def test_avif(photograph, bits):
    levels = photograph.astype(np.uint16) << (bits - 8) if bits > 8 else photograph
    data = imagecodecs.avif_encode(levels, level=100, bitspersample=bits)
    array = read(data)
    assert array.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(array / (257 if bits > 8 else 1) - photograph).max() < 8


def test_arrays_are_images_for_a_range_of_values(photograph):
    of = decode.ReadOptions((3,), value_range=(0.0, 255.0))

    def saved(array):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    for array in (photograph, photograph.astype(np.float64), np.moveaxis(photograph, -1, 0).astype('>i4')):
        found = decode.to_array(decode.decode(saved(array), of))
        np.testing.assert_array_equal(found, photograph)
        assert decode.check(saved(array), of).format == 'NPY'
    assert decode.decode(saved(photograph[..., 0]), of).shape == (48, 64, 1)
    assert decode.decode(saved(photograph[None, ..., 0]), of).shape == (48, 64, 1)
    assert decode.decode(saved(photograph.astype('>u2')), of).dtype == np.dtype(np.uint16)
    with pytest.raises(decode.BadImage, match='its values are float64; train with --value_range'):
        decode.check(saved(photograph / 3))
    for bad in (np.zeros((2, 3, 4, 5)), np.array(['x']), np.zeros((0, 3))):
        with pytest.raises(decode.BadImage, match='it is an array of .* not of numbers .height, width, channels.'):
            decode.check(saved(bad), of)
    with pytest.raises(decode.BadImage):
        decode.check(saved(photograph)[:-50], of)


@pytest.mark.parametrize('bits', [1, 2, 4])
def test_fewer_bits_stay_as_they_are_for_a_range_of_values(bits):
    levels = (np.arange(64).reshape(8, 8) % 2**bits).astype(np.uint8)
    rows = [b'\0' + np.packbits(row[:, None] >> np.arange(bits)[::-1] & 1).tobytes() for row in levels]
    chunk = lambda kind, body: struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))  # noqa: E731
    data = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 8, 8, bits, 0, 0, 0, 0))
    data += chunk(b'tRNS', b'\0\0') + chunk(b'IDAT', zlib.compress(b''.join(rows))) + chunk(b'IEND', b'')
    of = decode.ReadOptions((1,), value_range=(0.0, 3.0))
    np.testing.assert_array_equal(decode.decode(data, of)[..., 0], levels)
    assert decode.check(data, of).channels == 1 and decode.check(data, of).values == (0, 2**bits - 1)
    pgm = b'P5\n8 8\n100\n' + levels.tobytes()
    np.testing.assert_array_equal(decode.decode(pgm, of)[..., 0], levels)
    assert np.asarray(decode.decode(pgm)).max() == round(levels.max() * 2.55)


def test_sixteen_bits_with_a_transparent_colour_have_alpha(photograph):
    gray = photograph[..., 0].astype(np.uint16) * 257
    data = imagecodecs.png_encode(gray)
    body = struct.pack('>H', int(gray[0, 0]))
    chunk = struct.pack('>I', 2) + b'tRNS' + body + struct.pack('>I', zlib.crc32(b'tRNS' + body))
    array = read(data[:33] + chunk + data[33:], 4)
    np.testing.assert_array_equal(array[..., 3] == 0, gray == gray[0, 0])


def test_a_quarter_turn_exchanges_the_resolutions(photograph):
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (
        encode(photograph, 'PNG', exif=exif, dpi=(100, 200)),
        tiff(photograph, photometric='rgb', resolution=(100, 200), extratags=[(274, 3, 1, 6, True)]),
    ):
        _, metadata = decode.decode_with_metadata(data)
        np.testing.assert_allclose(metadata.resolution[:2], (200, 100), atol=0.02)


def test_the_limit_of_pixels_can_be_set(photograph):
    data = encode(photograph, 'PNG')
    with pytest.raises(decode.BadImage, match=r'it claims 64x48 pixels; --max_image_pixels \(1,000\) is the limit'):
        decode.check(data, decode.ReadOptions(max_pixels=1000))
    with pytest.raises(decode.BadImage, match='--max_image_pixels'):
        decode.check(tiff(photograph, photometric='rgb'), decode.ReadOptions(max_pixels=1000))


def test_a_larger_limit_is_pillows_too():
    """In a process of its own, since Pillow has one limit for all."""
    code = (
        'from PIL import Image\n'
        'from cyclegan_tf.data import decode\n'
        'from tests.helpers.image_files import huge_png\n'
        'for limit in (10**9, 10**10):\n'
        '    try:\n'
        '        print(decode.read_header(huge_png(), decode.ReadOptions(max_pixels=limit)).width)\n'
        '    except decode.BadImage as error:\n'
        '        print(error)\n'
    )
    _, output, error = program.run_python('-c', code)
    assert output.splitlines() == [
        'it claims 60000x60000 pixels; --max_image_pixels (1,000,000,000) is the limit', '60000'
    ], error  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- profiles
ADOBE, GRAY = imagecodecs.cms_profile('adobergb'), imagecodecs.cms_profile('gray', gamma=2.2)


def with_profile(kept, channels=3):
    return decode.ReadOptions((channels,), kept_profile=kept)


@pytest.mark.parametrize('format', ['PNG', 'JPEG', 'TIFF', 'WEBP'])
def test_a_profile_is_kept_or_converts_the_image(photograph, format):
    data = encode(photograph, format, icc_profile=ADOBE, **({'quality': 95} if format != 'TIFF' else {}))
    plain = decode.to_array(decode.decode(data))
    kept, metadata = decode.decode_with_metadata(data, with_profile('RGB '))
    np.testing.assert_array_equal(decode.to_array(kept), plain)
    assert metadata.icc_profile == ADOBE
    assert decode.decode_with_metadata(data)[1].icc_profile is None
    for other in ('GRAY', ''):
        converted, metadata = decode.decode_with_metadata(data, with_profile(other))
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(ADOBE)), ImageCms.createProfile('sRGB'), 'RGB', 'RGB'
        )
        expected = np.asarray(ImageCms.applyTransform(Image.fromarray(plain), transform)).astype(int)
        assert metadata.icc_profile is None
        assert np.abs(decode.to_array(converted) - expected).max() <= 1
        assert np.abs(expected - plain).max() > 10


def test_profiles_of_gray_of_sixteen_bits_and_of_alpha(photograph):
    gray = encode(photograph[..., 0], 'PNG', icc_profile=GRAY)
    picture, metadata = decode.decode_with_metadata(gray, with_profile('GRAY', 1))
    assert picture.mode == 'L' and metadata.icc_profile == GRAY
    picture, metadata = decode.decode_with_metadata(gray, with_profile('RGB '))
    assert picture.mode == 'RGB' and metadata.icc_profile is None
    deep = tiff(photograph.astype(np.uint16) * 257, photometric='rgb', iccprofile=ADOBE)
    converted = decode.to_array(decode.decode(deep, with_profile('')))
    same = decode.to_array(decode.decode(encode(photograph, 'PNG', icc_profile=ADOBE), with_profile('')))
    assert converted.dtype == np.uint16 and np.abs(converted / 257 - same).max() < 2.5
    alpha = np.dstack([photograph, photograph[..., 0]])
    converted = decode.to_array(decode.decode(encode(alpha, 'PNG', icc_profile=ADOBE), with_profile('')))
    np.testing.assert_array_equal(converted[..., 3], photograph[..., 0])
    np.testing.assert_array_equal(converted[..., :3], same)


def test_a_profile_that_is_none_or_of_other_channels_says_nothing(photograph):
    for profile in (b'no profile', ADOBE[:200], GRAY):
        for kept in ('RGB ', ''):
            data = encode(photograph, 'PNG', icc_profile=profile)
            picture, metadata = decode.decode_with_metadata(data, with_profile(kept))
            np.testing.assert_array_equal(decode.to_array(picture), photograph)
            assert metadata.icc_profile in (None, ADOBE[:200])

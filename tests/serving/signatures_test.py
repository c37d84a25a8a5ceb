"""The signatures of an exported model: the pixels are the translator's, and what cannot be used is refused."""

import concurrent.futures
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf

import cyclegan_tf
from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.levels import to_float
from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_generator
from cyclegan_tf.serving import codecs, signatures
from tests.helpers import served_models
from tests.helpers.served_models import decode_png, encode, photograph

FILES = served_models.files()
MAX_PIXELS = 40_000


class Served:
    """A SavedModel read back from the disk, its signatures as functions of arrays, and the run that it came from."""

    def __init__(self, run_directory, folder, max_pixels=MAX_PIXELS):
        self.reference = cyclegan_tf.load(run_directory)
        network = self.reference.translation('AtoB').network
        servable = signatures.Servable(network, self.reference.translation('AtoB').channels[0], max_pixels)
        tf.saved_model.save(servable, str(folder), signatures=servable.signatures())
        self._model = tf.saved_model.load(str(folder))

    def files(self, *files):
        answer = self._model.signatures['serving_default'](image_bytes=tf.constant(files, tf.string, [len(files)]))
        return [decode_png(data) for data in answer['image_bytes'].numpy()]

    def images(self, images):
        return self._model.signatures['translate_images'](images=tf.constant(images))['images'].numpy()

    def floats(self, images):
        return self._model.signatures['translate_floats'](images=tf.constant(images))['images'].numpy()

    def expected(self, data):
        """What translate writes for a file with --output_depth=8."""
        return self.reference.translate(decode.to_array(decode.decode(data)), 'AtoB', np.dtype(np.uint8))


class Models(dict):
    """Served models by name, each made when it is first asked for."""

    SETTINGS = {
        'colour': {},
        'to gray': {'output_nc': 1, 'lambda_identity': 0.0, 'norm': 'batch'},
        'from gray': {'input_nc': 1, 'lambda_identity': 0.0},
        'four': {'input_nc': 4, 'output_nc': 4},
        'unet': {'netG': 'unet_128'},
    }

    def __init__(self, directory):
        super().__init__()
        self._directory = directory

    def __missing__(self, name):
        run_directory = served_models.make_run(self._directory, name, **self.SETTINGS[name])
        self[name] = Served(run_directory, self._directory / f'{name} saved')
        return self[name]


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    """Models by name, see Models.SETTINGS."""
    return Models(tmp_path_factory.mktemp('served'))


@pytest.mark.parametrize('kind', FILES)
def test_pixels_are_the_translators(served, kind):
    (result,) = served['colour'].files(FILES[kind])
    expected = served['colour'].expected(FILES[kind])
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)
    assert min(expected.shape[:2]) < 5 or expected[..., :3].std() > 5, 'a picture without content shows nothing'


@pytest.mark.parametrize('kind', ['odd', 'one pixel', 'gray and alpha', 'alpha', 'deep', 'deep gray', 'jpeg'])
@pytest.mark.parametrize('name', ['to gray', 'from gray', 'four', 'unet'])
def test_other_networks_give_the_translators_pixels(served, name, kind):
    np.testing.assert_array_equal(served[name].files(FILES[kind])[0], served[name].expected(FILES[kind]))


def test_colours_of_cmyk_are_the_translators_but_for_rounding(served):
    data = encode(served_models.Image.fromarray(photograph()).convert('CMYK'), 'JPEG', quality=95)
    pixels, _ = codecs.decode_jpeg(tf.constant(data))
    assert np.abs(pixels.numpy() - np.asarray(set_channels(decode.decode(data), 3)).astype(int)).max() <= 1
    assert served['colour'].files(data)[0].shape == (32, 40, 3)


def test_a_batch_of_all_sizes_and_formats(served):
    results = served['colour'].files(*FILES.values())
    for kind, result in zip(FILES, results):
        np.testing.assert_array_equal(result, served['colour'].expected(FILES[kind]), err_msg=kind)


def test_images_and_floats(served):
    image = served_models.with_alpha(photograph(33, 21))
    colour = served['colour']
    for channels in (3, 4):
        given = image[..., :channels]
        result = colour.images(given[None])
        np.testing.assert_array_equal(result[0], colour.reference.translate(given))
        both = colour.images(np.stack([given, given[::-1]]))
        np.testing.assert_allclose(both[0].astype(int), result[0], atol=1)
    floats = to_float(image[None, ..., :3])
    np.testing.assert_array_equal(colour.floats(floats), colour.reference.translate_floats(floats, 'AtoB'))
    assert colour.images(image[None, ..., :1]).shape == (1, 33, 21, 3)
    assert colour.images(image[None, ..., :2]).shape == (1, 33, 21, 4)


def test_an_empty_batch_gives_an_empty_batch(served):
    assert served['colour'].files() == []
    assert served['colour'].images(np.zeros((0, 9, 5, 3), np.uint8)).shape == (0, 9, 5, 3)
    assert served['colour'].images(np.zeros((0, 9, 5, 2), np.uint8)).shape == (0, 9, 5, 4)
    assert served['colour'].floats(np.zeros((0, 9, 5, 3), np.float32)).shape == (0, 9, 5, 3)
    assert served['to gray'].floats(np.zeros((2, 0, 5, 3), np.float32)).shape == (2, 0, 5, 1)


def test_a_batch_with_more_pixels_than_an_image_may_have_is_translated_one_by_one(served):
    images = np.stack([photograph(150, 170), photograph(150, 170, 'coffee')])
    assert images.size > MAX_PIXELS * 3
    results = served['colour'].images(images)
    for image, result in zip(images, results):
        np.testing.assert_array_equal(result, served['colour'].reference.translate(image))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_floats_are_exact_also_after_tensorflows_optimiser(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(1, 16, -1, 1)
    convert = tf.function(lambda pixels: codecs.to_float(pixels, tf.constant(int(levels.max()))))
    np.testing.assert_array_equal(convert(tf.constant(levels.astype(np.int32))), to_float(levels))


# ------------------------------------------------------------------------------------------------------ what is refused
def png_that_claims(width, height):
    """A PNG whose header says so, and whose pixels are missing."""
    data = bytearray(FILES['even'][:60])
    data[16:24] = struct.pack('>II', width, height)
    return bytes(data)


def bmp_that_claims(width, height):
    data = bytearray(FILES['bmp'])
    data[18:26] = struct.pack('<ii', width, height)
    return bytes(data)


def jpeg_that_claims(width, height):
    data = FILES['jpeg']
    place = data.index(b'\xff\xc0') + 5  # behind the frame's length and precision
    return data[:place] + struct.pack('>HH', height, width) + data[place + 4 :]


@pytest.mark.parametrize(
    'data, sentence',
    [
        (png_that_claims(201, 200), 'The image has 201x200 pixels; this model takes at most 40,000 of them'),
        (png_that_claims(2**31, 2**31), 'The image has 2147483648x2147483648 pixels'),  # 2**62 of them
        (png_that_claims(2**32 - 1, 2**32 - 1), 'The image has 4294967295x4294967295 pixels'),  # 1 in 64 bits
        (png_that_claims(1, 6000), 'The image has 1x6000 pixels'),  # eight times as many for the network
        (jpeg_that_claims(65500, 65500), 'The image has 65500x65500 pixels'),
        (bmp_that_claims(300, 300), 'The image has 300x300 pixels'),
        (bmp_that_claims(300, -300), 'The image has 300x300 pixels'),
        (b'', 'The image is not a JPEG, PNG or BMP; convert it to one'),
        (b'no image', 'The image is not a JPEG, PNG or BMP; convert it to one'),
        (encode(photograph(), 'GIF'), 'The image is not a JPEG, PNG or BMP; convert it to one'),
        (encode(photograph(), 'WEBP'), 'The image is not a JPEG, PNG or BMP; convert it to one'),
        (FILES['even'][:300], 'Invalid PNG'),
        (FILES['even'][:20], 'Invalid PNG'),
        (FILES['even'][:200] + b'\0' * 40 + FILES['even'][240:], 'PNG'),
        (FILES['jpeg'][:400], 'Invalid JPEG'),
        (FILES['jpeg'][:-200], 'Invalid JPEG'),
        (FILES['bmp'][:-200], '(?i)bmp|incomplete'),
        (b'BM', 'The image is a BMP of a kind that this model cannot read; convert it to PNG'),
        (encode(served_models.Image.fromarray(photograph()).convert('1'), 'BMP'), 'is a BMP of a kind'),
    ],
)
def test_what_cannot_be_used_is_an_invalid_argument_and_the_next_request_succeeds(served, data, sentence):
    for files in ((data,), (FILES['even'], data)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            served['colour'].files(*files)
    assert served['colour'].files(FILES['even'])[0].shape == (32, 40, 3)


def test_a_huge_picture_is_refused_without_being_decoded(served):
    data = encode(served_models.Image.new('L', (12000, 12000)))
    assert len(data) < 200_000
    # Cut off behind its header: to decode it would be another error.
    with pytest.raises(tf.errors.InvalidArgumentError, match='The image has 12000x12000 pixels'):
        served['colour'].files(data[:100])
    start = time.process_time()  # of the CPU, which other processes do not take
    with pytest.raises(tf.errors.InvalidArgumentError, match='The image has 12000x12000 pixels'):
        served['colour'].files(data)
    refused = time.process_time() - start
    start = time.process_time()
    tf.io.decode_png(data)
    assert refused < (time.process_time() - start) / 2


def test_arrays_that_are_too_large_or_of_other_channels_are_refused(served):
    with pytest.raises(tf.errors.InvalidArgumentError, match='The image has 300x200 pixels'):
        served['colour'].images(np.zeros((1, 200, 300, 3), np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match='The image has 300x200 pixels'):
        served['colour'].floats(np.zeros((1, 200, 300, 3), np.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match='Images of 5 channels do not fit'):
        served['colour'].images(np.zeros((1, 20, 30, 5), np.uint8))
    with pytest.raises(UserError, match='`max_pixels` .16383. is less than the smallest image .*; raise it to 16384'):
        signatures.Servable(make_generator('unet_128', 3, 3, filters=1), 3, 16383)


@pytest.mark.parametrize('bits, colour', [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (16, 65535)])
def test_a_transparent_colour_is_alpha(bits, colour):
    """A PNG of gray, written by hand: Pillow writes no other depths than 1 and 8."""
    levels = np.arange(64).reshape(8, 8) % 2**bits
    levels[-1, -1] = colour
    if bits == 16:
        rows = [b'\0' + row.astype('>u2').tobytes() for row in levels]
    else:
        rows = [
            b'\0' + np.packbits((row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes()
            for row in levels
        ]
    chunks = [
        (b'IHDR', struct.pack('>IIBBBBB', 8, 8, bits, 0, 0, 0, 0)),
        (b'tRNS', struct.pack('>H', colour)),
        (b'IDAT', zlib.compress(b''.join(rows))),
        (b'IEND', b''),
    ]
    data = b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body)) for kind, body in chunks
    )
    kind, head = codecs.read_kind(tf.constant(data))
    pixels, _ = codecs.decode(kind, tf.constant(data), head)
    np.testing.assert_array_equal(pixels[..., 1] == 0, levels == colour)
    np.testing.assert_array_equal(pixels, decode.to_array(decode.decode(data)))


def test_numbers_of_a_range_and_other_channels_are_served_as_floats(tmp_path):
    network = make_generator('resnet_6blocks', 2, 5, filters=4, seed=1)
    images = np.random.default_rng(0).random((1, 8, 12, 2)).astype(np.float32) * 2 - 1
    plain = signatures.Servable(network, 2, 1000)
    assert set(plain.signatures()) == {'translate_floats'}
    floats = plain.signatures()['translate_floats'](images=tf.constant(images))['images']
    for range_in, range_out in (((-100.0, 300.0), (0.0, 1.0)), (None, (0.0, 1.0)), ((-100.0, 300.0), None)):
        calls = signatures.Servable(network, 2, 1000, (range_in, range_out)).signatures()
        assert set(calls) == {'translate_floats', 'translate_values'}
        given = images if range_in is None else images * 200 + 100
        found = calls['translate_values'](values=tf.constant(given))['values']
        np.testing.assert_allclose(found, floats if range_out is None else (floats + 1) / 2, atol=1e-5)


def test_threads_get_the_answers_of_one(served):
    kinds = list(FILES)
    expected = {kind: served['colour'].files(FILES[kind])[0] for kind in kinds}

    def ask(thread):
        return [(kind, served['colour'].files(FILES[kind])[0]) for kind in (kinds[thread:] + kinds * 3)[:50]]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [answer for answers in pool.map(ask, range(4)) for answer in answers]
    assert len(answers) == 200
    for kind, result in answers:
        np.testing.assert_array_equal(result, expected[kind], err_msg=kind)


# ------------------------------------------------------------------------------------------------------------ precision
@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
@pytest.mark.parametrize('precision, mean, most', [('bfloat16', 0.03, 0.4), ('float16', 0.004, 0.05)])
def test_lower_precision_keeps_half_the_bytes_and_nearly_the_picture(name, precision, mean, most):
    network = make_generator(name, 3, 3, filters=4, init_gain=0.3, seed=1)
    images = to_float(photograph(128, 128)[None])
    expected = network(images).numpy()
    signatures.lower_precision(network, precision)
    assert {variable.dtype for variable in network.variables} == {tf.as_dtype(precision)}
    result = network(images)
    assert result.dtype == tf.float32
    difference = np.abs(result - expected)
    assert 0 < difference.mean() < mean and difference.max() < most


def test_norms_stay_float32():
    network = make_generator('resnet_6blocks', 3, 3, filters=4, norm='batch', seed=1)
    signatures.lower_precision(network, 'float16')
    halves = [variable for variable in network.variables if variable.dtype == tf.float16]
    assert all('kernel' in v.name or 'bias' in v.name for v in halves) and len(halves) < len(network.variables)


def test_weights_that_float16_cannot_hold_are_refused():
    network = make_generator('resnet_6blocks', 3, 3, filters=4, seed=1)
    network.conv_in.kernel[0, 0, 0, 0].assign(1e5)
    with pytest.raises(UserError, match='`precision` .float16. cannot represent the largest weights; set it to'):
        signatures.lower_precision(network, 'float16')

"""Feature extractors from files of all kinds, against the network applied by hand."""

import gc
import urllib.request
import weakref

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import features


@pytest.fixture(scope='module')
def pictures():
    """Photographs of several sizes, uint8 [h, w, 3]."""
    sides = ((32, 32), (50, 40), (20, 70), (32, 32), (100, 100))
    return [picture[:h, :w] for picture, (h, w) in zip(demo.regions('test', 'A').values(), sides)]


def small_network(pooled=True, size=(32, 32), channels=3, batch=None, outputs=1):
    """A convolution with random weights; several outputs are the maps and their means."""
    inputs = tf.keras.Input((*size, channels), batch_size=batch)
    maps = tf.keras.layers.Conv2D(5, 3, strides=2, activation='tanh', name='maps')(inputs)
    means = tf.keras.layers.GlobalAveragePooling2D(name='means')(maps)
    return tf.keras.Model(inputs, [maps, means] if outputs == 2 else means if pooled else maps)


def pixels(size, channels=3, dtype='float32'):
    """A network whose features are what it is given."""
    inputs = tf.keras.Input((*size, channels), dtype=dtype)
    return tf.keras.Model(inputs, tf.keras.layers.Flatten(dtype=dtype)(inputs))


def as_pillow_resizes(image, height, width):
    planes = [Image.fromarray(image[..., c].astype(np.float32)).resize((width, height), Image.BICUBIC)
              for c in range(image.shape[-1])]  # fmt: skip
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0, 255)


class Callable(tf.Module):
    """What tf.saved_model.save stores with __call__ and without signatures."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3])])
    def __call__(self, x):
        return self.model(x)


def save(model, form, path):
    """Stores a model in one of the forms that are read; returns where."""
    path = path / ('model' + form if form.startswith('.') else 'model')
    if form == '__call__':
        tf.saved_model.save(Callable(model), str(path))
    elif form == 'signature':
        # One signature, of another name than TensorFlow Serving's.
        holder = tf.Module()
        holder.model = model
        holder.function = tf.function(lambda x: {'pool': model(x)}, [tf.TensorSpec([None, 32, 32, 3])])
        tf.saved_model.save(holder, str(path), signatures={'pool': holder.function})
    else:
        model.save(path)
    return path


@pytest.mark.parametrize('pooled', [True, False])
@pytest.mark.parametrize('form', ['.keras', '.h5', 'SavedModel', '__call__', 'signature'])
def test_every_form_gives_the_networks_features(tmp_path, pictures, form, pooled):
    model = small_network(pooled)
    extractor = features.make_extractor(save(model, form, tmp_path), input_range=(-1, 1))
    assert extractor.input_size == (32, 32) and extractor.dimensions == 5
    gc.collect()  # variables that nobody holds would be gone
    given = np.stack([as_pillow_resizes(picture, 32, 32) for picture in pictures]) / 127.5 - 1
    expected = model.predict(given, verbose=0)
    expected = expected if pooled else expected.mean(axis=(1, 2))
    found = extractor(pictures)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize('size', [(32, 32), (24, 20), (90, 130), (20, 90)])
def test_images_are_resized_as_pillow_does_it(tmp_path, pictures, size):
    pixels(size).save(tmp_path / 'pixels.keras')
    extractor = features.make_extractor(tmp_path / 'pixels.keras', input_range=(0, 255))
    expected = [as_pillow_resizes(picture, *size).ravel() for picture in pictures]
    np.testing.assert_allclose(extractor(pictures), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize('limits', [(0, 1), (-1, 1), (0, 255), (-2.5, 2)])
def test_black_and_white_are_the_ends_of_the_range(tmp_path, limits):
    pixels((4, 4)).save(tmp_path / 'pixels.keras')
    extractor = features.make_extractor(str(tmp_path / 'pixels.keras'), input_range=limits)
    found = extractor(np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)]))
    np.testing.assert_allclose(found, np.repeat([[limits[0]], [limits[1]]], 48, axis=1), rtol=1e-6)


def test_channels_become_those_of_the_network(tmp_path, pictures):
    colour = pictures[0]
    gray = np.asarray(Image.fromarray(colour).convert('L'))[..., None]
    alpha = np.random.default_rng(0).integers(0, 256, colour.shape[:2] + (1,), dtype=np.uint8)
    white, both = np.full_like(alpha, 255), np.dstack([colour, alpha])
    expected = {
        1: (gray, gray, gray),
        3: (np.dstack([gray] * 3), colour, colour),
        4: (np.dstack([gray] * 3 + [white]), np.dstack([colour, white]), both),
    }
    for channels, wanted in expected.items():
        path = tmp_path / f'{channels}.keras'
        pixels((32, 32), channels).save(path)
        found = features.make_extractor(path, input_range=(0, 255))([gray, colour, both])
        # Pillow rounds gray to whole levels.
        np.testing.assert_allclose(found, [x.ravel() for x in wanted], rtol=0, atol=0.51 if channels == 1 else 0)


def test_batches_change_nothing_and_bound_what_is_in_memory(tmp_path, pictures):
    small_network().save(tmp_path / 'model.keras')
    make = lambda size: features.make_extractor(tmp_path / 'model.keras', input_range=(0, 1), batch_size=size)  # noqa: E731
    expected = make(100)(pictures)
    np.testing.assert_allclose(make(2)(pictures), expected, rtol=0, atol=1e-6)
    given = []

    def stream():
        for i in range(12):
            image = pictures[i % 5].copy()
            given.append(weakref.ref(image))
            yield image
            del image
            assert sum(reference() is not None for reference in given) <= 2 * 2

    assert make(2)(stream()).shape == (12, 5)


def test_network_for_batches_of_one_size(tmp_path, pictures):
    module = tf.Module()
    module.pairs = tf.function(lambda x: tf.reshape(x, [2, 32 * 32 * 3]), [tf.TensorSpec([2, 32, 32, 3])])
    tf.saved_model.save(module, str(tmp_path / 'model'), signatures=module.pairs)
    extractor = features.make_extractor(tmp_path / 'model', input_range=(0, 255))
    same = np.stack([pictures[0], pictures[3], pictures[0]])
    np.testing.assert_array_equal(extractor(same), same.reshape(3, -1))


def test_network_of_whole_numbers_is_given_rounded_levels(tmp_path, pictures):
    pixels((24, 24), dtype='uint8').save(tmp_path / 'model')
    extractor = features.make_extractor(tmp_path / 'model', input_range=(0, 255))
    expected = [as_pillow_resizes(picture, 24, 24).ravel() for picture in pictures]
    found = extractor(pictures)
    assert abs(found - expected).max() < 0.52 and (found == np.round(found)).all()
    with pytest.raises(UserError, match=r'`feature_range` \(-1.0, 1.0\) does not fit uint8'):
        features.make_extractor(tmp_path / 'model', input_range=(-1, 1))


@pytest.mark.parametrize('form', ['.keras', 'SavedModel'])
def test_network_with_several_outputs_needs_one_named(tmp_path, pictures, form):
    model = small_network(outputs=2)
    path = save(model, form, tmp_path)
    with pytest.raises(UserError, match=r'`feature_output` \(None\) is not one of .*: maps, means; set it to one'):
        features.make_extractor(path, input_range=(0, 255))
    expected = model(pictures[0][None].astype(np.float32))[1]
    for output in ('maps', 'means'):
        found = features.make_extractor(path, input_range=(0, 255), output=output)(pictures[0][None])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_network_for_images_of_any_size_needs_one(tmp_path, pictures):
    small_network(size=(None, None)).save(tmp_path / 'any.keras')
    with pytest.raises(
        UserError, match="`feature_size` is not set, and '.*any.keras' takes images of any size; set it"
    ):
        features.make_extractor(tmp_path / 'any.keras', input_range=(0, 1))
    for size, expected in ((40, (40, 40)), ((24, 40), (24, 40))):
        extractor = features.make_extractor(tmp_path / 'any.keras', input_size=size, input_range=(0, 1))
        assert extractor.input_size == expected and extractor(pictures).shape == (5, 5)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({}, '`feature_range` is not set, and .* does not define it; set it to the values of black and white'),
        ({'input_range': (1, 1)}, r'`feature_range` \(1.0, 1.0\) is not a range'),
        ({'input_range': (0, np.inf)}, r'`feature_range` \(0.0, inf\) is not a range'),
        ({'input_range': (0, 1), 'input_size': 64}, r'`feature_size` \(64\) is not what .* takes, 32x32; leave it out'),
        ({'input_range': (0, 1), 'input_size': (32, 0)}, r'`feature_size` \(\(32, 0\)\) is not a size'),
        ({'input_range': (0, 1), 'output': 'x'}, r'`feature_output` \(x\) is not one of .*: means; set it to one'),
        ({'input_range': (0, 1), 'batch_size': 0}, r'`batch_size` \(0\) is below 1; raise it'),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, arguments, message):
    small_network().save(tmp_path / 'model.keras')
    with pytest.raises(UserError, match=message):
        features.make_extractor(tmp_path / 'model.keras', **arguments)


def test_networks_that_cannot_serve_are_refused(tmp_path):
    layers = tf.keras.layers
    one, two = tf.keras.Input((8, 8, 3)), tf.keras.Input((8, 8, 3))
    wrong = {
        'has 2 inputs; give one that takes images only': tf.keras.Model([one, two], layers.Flatten()(one + two)),
        r'takes \[None, 8, 8, 2\]; it must take images': pixels((8, 8), 2),
        r'takes \[None, 8\]; it must take images': tf.keras.Sequential([tf.keras.Input((8,)), layers.Dense(2)]),
        r'returns the shape \(1, 8, 24\); it must return \[n, d\]': tf.keras.Model(one, layers.Reshape((8, 24))(one)),
    }
    for i, (message, model) in enumerate(wrong.items()):
        for form in ('.keras', 'SavedModel'):
            (tmp_path / f'{i}{form}').mkdir()
            with pytest.raises(UserError, match=message):
                features.make_extractor(save(model, form, tmp_path / f'{i}{form}'), 8, (0, 1))
    # A size that only the running network refuses: four halvings of five pixels.
    deep = tf.keras.Sequential([tf.keras.Input((None, None, 3)), *(layers.Conv2D(2, 3) for _ in range(4))])
    tf.saved_model.save(deep, str(tmp_path / 'deep'))
    with pytest.raises(UserError, match='does not take float32 .1, 5, 5, 3.; set `feature_size` to a size that'):
        features.make_extractor(tmp_path / 'deep', 5, (0, 1))


def test_files_that_are_no_network_are_refused(tmp_path):
    (tmp_path / 'broken.keras').write_bytes(b'no model')
    small_network().save_weights(tmp_path / 'weights.h5')
    (tmp_path / 'saved').mkdir()
    (tmp_path / 'saved' / 'saved_model.pb').write_bytes(b'no model')
    tf.saved_model.save(tf.Module(), str(tmp_path / 'empty'))
    for name, message in (
        ('broken.keras', 'cannot be loaded .*; save the whole model again'),
        ('weights.h5', 'cannot be loaded .*; save the whole model again'),
        ('saved', 'cannot be loaded .*; save the whole model again'),
        ('empty', 'has no __call__, and its signatures are: none; add serving_default'),
        ('missing.keras', 'is neither one of: inception_v3, inception_2015, nor a file that ends in .keras'),
        ('', 'is neither one of: inception_v3, inception_2015, nor a file that ends in .keras'),
    ):
        with pytest.raises(UserError, match=f"`feature_extractor` .'{tmp_path / name}'. {message}"):
            features.make_extractor(tmp_path / name, input_range=(0, 1))
    with pytest.raises(
        UserError, match="`feature_extractor` .'inception'. is neither one of: inception_v3, inception_2015, nor"
    ):
        features.make_extractor('inception', input_range=(0, 1))


@pytest.mark.parametrize(
    'images, message',
    [
        ([], '`images` is empty; give at least one image'),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint16)], r'`images` at index 1 is uint16 \(8, 8, 3\)'),
        (
            np.zeros((2, 8, 8), np.uint8),
            r'`images` at index 0 is uint8 \(8, 8\); give uint8 \[height, width, 1, 3 or 4\]',
        ),
        (np.zeros((2, 8, 8, 2), np.uint8), r'`images` at index 0 is uint8 \(8, 8, 2\)'),
        (np.zeros((2, 8, 0, 3), np.uint8), r'`images` at index 0 is uint8 \(8, 0, 3\)'),
    ],
)
def test_images_that_are_none_are_refused(tmp_path, images, message):
    pixels((8, 8)).save(tmp_path / 'pixels.keras')
    extractor = features.make_extractor(tmp_path / 'pixels.keras', input_range=(0, 1))
    with pytest.raises(UserError, match=message):
        extractor(images)


def test_inception_is_that_of_keras_in_float32(pictures, monkeypatch):
    """Untrained, which needs no download; whatever precision is trained in."""
    tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')
    try:
        network, limits = features._inception_v3(weights=None)
        assert tf.keras.mixed_precision.global_policy().name == 'mixed_bfloat16'
    finally:
        tf.keras.mixed_precision.set_global_policy('float32')
    monkeypatch.setitem(features.NAMED, 'untrained', lambda: (network, limits))
    extractor = features.make_extractor('untrained')
    assert extractor.input_size == (299, 299) and extractor.dimensions == 2048
    given = tf.keras.applications.inception_v3.preprocess_input(as_pillow_resizes(pictures[0], 299, 299)[None])
    (expected,) = network.call(tf.constant(given)).values()
    assert expected.dtype == tf.float32
    np.testing.assert_allclose(extractor(pictures[:1]), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    for argument, message in (
        ({'input_size': 256}, r'`feature_size` \(256\) is not what .* takes, 299x299; leave it out'),
        (
            {'input_range': (0, 1)},
            r'`feature_range` \(0.0, 1.0\) is not that of untrained, \(-1.0, 1.0\); leave it out',
        ),
    ):
        with pytest.raises(UserError, match=message):
            features.make_extractor('untrained', **argument)


def test_failing_download_names_the_remedy(tmp_path, monkeypatch):
    """A real one, through a proxy that is not there."""
    models = tmp_path / '.keras' / 'models'
    models.parent.mkdir()
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')
    urllib.request.install_opener(None)  # an earlier request would have made one, without the proxy
    try:
        with pytest.raises(UserError, match='Connection refused') as caught:
            features.make_extractor('inception_v3')
    finally:
        urllib.request.install_opener(None)
    message = str(caught.value)
    assert "`feature_extractor` ('inception_v3') could not be downloaded" in message and '\n' not in message
    assert 'place https://storage.googleapis.com/' in message and message.count('https://') == 1
    assert f'in {models}, or give the path' in message
    assert models.is_dir() and not list(models.iterdir())

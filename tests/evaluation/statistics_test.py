"""Statistics of real images in files: written, read, and refused; those of other programs too."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import features, metrics, statistics


@pytest.fixture(scope='module')
def extractor(tmp_path_factory):
    path = tmp_path_factory.mktemp('extractor') / 'small.keras'
    layers = [tf.keras.layers.Conv2D(6, 3), tf.keras.layers.GlobalAveragePooling2D()]
    tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *layers]).save(path)
    return features.make_extractor(path, input_range=(-1, 1))


@pytest.fixture
def file(extractor, tmp_path):
    return statistics.File(tmp_path / 'new' / 'real.npz', extractor, statistics.describe(['a', 'b'], phase='test'))


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return [rng.normal(shift, 1, [20, 6]) for shift in (0, 0.5)]


def write(file, **arrays):
    file.path.parent.mkdir(exist_ok=True)
    np.savez_compressed(file.path, **arrays)
    return file


def test_what_was_saved_gives_the_same_figures(file, vectors, capsys):
    a, b = vectors
    made = []

    def make():
        made.append(1)
        return b

    for _ in range(2):
        reference = statistics.load_or_make(file, file.prepare(['kid', 'fid']), make)
        assert reference.fid(a) == metrics.fid(a, b) and reference.kid(a) == metrics.kid(a, b)
    assert made == [1] and [path.name for path in file.path.parent.iterdir()] == ['real.npz']
    assert capsys.readouterr().out == f"Features of real images: those in '{file.path}'.\n"
    assert statistics.load_or_make(None, None, make).fid(a) == metrics.fid(a, b) and len(made) == 2


def test_files_of_other_programs_are_read_and_ours_has_their_layout(file, vectors):
    a, b = vectors
    mean, cov = b.mean(axis=0), np.cov(b, rowvar=False)
    reference = write(file, mu=mean, sigma=cov).prepare(['fid'])  # pytorch-fid's, and clean-fid's for FID
    assert reference.fid(a) == pytest.approx(metrics.fid(a, b), rel=1e-9)
    with pytest.raises(UserError, match='holds a mean and a covariance, which is enough for fid alone; set `metrics`'):
        file.prepare(['kid', 'fid'])
    reference = write(file, feats=b).prepare(['kid', 'fid'])  # clean-fid's for KID
    assert reference.kid(a) == metrics.kid(a, b) and reference.fid(a) == metrics.fid(a, b)
    file.save(b)
    with np.load(file.path) as ours:
        np.testing.assert_allclose(ours['mu'], mean)
        np.testing.assert_allclose(ours['sigma'], cov)
        np.testing.assert_array_equal(ours['feats'], b)


def test_a_file_of_another_network_or_of_other_images_is_refused(file, extractor, vectors, tmp_path):
    file.save(vectors[0])

    def refused(message, **changed):
        with pytest.raises(UserError, match=f"`statistics` .'{file.path}'. was made {message}"):
            dataclasses.replace(file, **changed).prepare(['fid'])

    def of(**settings):
        return features.make_extractor(extractor.name, **{'input_range': (-1, 1), **settings})

    refused('with the input_range .-1.0, 1.0., but this one is .0.0, 255.0.', extractor=of(input_range=(0, 255)))
    refused('with the resizing clean, but this one is legacy_pytorch', extractor=of(resizing='legacy_pytorch'))
    other = tf.keras.models.load_model(extractor.name)
    other.set_weights([weight * 1.1 for weight in other.get_weights()])
    other.save(tmp_path / 'other.keras')
    changed = features.make_extractor(tmp_path / 'other.keras', input_range=(-1, 1))
    refused('with the extractor sha256 [0-9a-f]+, but this one is sha256', extractor=changed)
    refused('of other images .number 2 instead of 1.', images=statistics.describe(['a'], phase='test'))
    refused('of other images .names .* instead of', images=statistics.describe(['a', 'c'], phase='test'))
    refused('of other images .phase test instead of train.', images=statistics.describe(['a', 'b'], phase='train'))
    assert dataclasses.replace(file, images=None).prepare(['fid']) is not None


def test_what_does_not_fit_is_one_sentence(file, vectors, tmp_path):
    def refused(message, **arrays):
        if arrays:
            write(file, **arrays)
        with pytest.raises(UserError, match=f"`statistics` .'{file.path}'.,? {message}"):
            file.prepare(['fid'])

    mean, cov = np.zeros(6), np.eye(6)
    refused('holds neither mu and sigma nor feats; set it to a file of statistics', mu=mean)
    refused('holds sigma of the shape .5, 5., but features have 6 dimensions', mu=mean, sigma=np.eye(5))
    refused('holds feats of the shape .6,., but', feats=mean)
    refused('holds feats of the shape .2, 5., but', feats=np.zeros([2, 5]))
    refused('holds the features of 1 image', feats=np.zeros([1, 6]))
    refused('holds mu with values that are not finite', mu=mean * np.nan, sigma=cov)
    refused('holds feats with values that are not finite', feats=np.full([2, 6], 'x'))
    refused('sigma` is not a covariance', mu=mean, sigma=-cov)
    refused('cannot be read', mu=mean, sigma=cov, about='[]')
    np.save(tmp_path / 'x.npy', mean)
    for data in (b'', b'no archive', b'PK\x03\x04 half', (tmp_path / 'x.npy').read_bytes()):
        file.path.write_bytes(data)
        refused('cannot be read')
    write(file, mu=np.array([{}], object), sigma=cov)
    refused('cannot be read')


def test_damage_anywhere_is_one_sentence(file, vectors):
    file.save(vectors[0])
    whole, rng, refusals = file.path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=4):
            data[place] = rng.integers(256)
        file.path.write_bytes(bytes(data))
        try:
            file.prepare(['fid'])
        except UserError:
            refusals += 1
    assert refusals > 100  # the others changed nothing that is read


def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(file, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='`statistics` .*file/x.npz'):
        dataclasses.replace(file, path=tmp_path / 'file' / 'x.npz').prepare(['fid'])

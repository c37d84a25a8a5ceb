"""Statistics of real images in files: written, read, and refused; those of other programs too."""

import types

import numpy as np
import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import metrics, statistics

HOW = types.SimpleNamespace(identity='inception_2015', resizing='clean', dimensions=6)
ABOUT = {'extractor': HOW.identity, 'resizing': HOW.resizing}


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return [rng.normal(shift, 1, [20, 6]) for shift in (0, 0.5)]


def test_what_was_saved_gives_the_same_figures(tmp_path, vectors):
    a, b = vectors
    path, made = tmp_path / 'new' / 'real.npz', []

    def make():
        made.append(1)
        return b

    for _ in range(2):
        reference = statistics.load_or_make(path, HOW, make)
        assert reference.fid(a) == metrics.fid(a, b) and reference.kid(a) == metrics.kid(a, b)
    assert made == [1] and [file.name for file in path.parent.iterdir()] == ['real.npz']
    assert statistics.load_or_make(None, HOW, make).fid(a) == metrics.fid(a, b) and len(made) == 2


def test_files_of_other_programs_are_read_and_ours_has_their_layout(tmp_path, vectors):
    a, b = vectors
    mean, cov = b.mean(axis=0), np.cov(b, rowvar=False)
    np.savez_compressed(tmp_path / 'fid.npz', mu=mean, sigma=cov)  # pytorch-fid's, and clean-fid's for FID
    reference = statistics.load(tmp_path / 'fid.npz', ABOUT, 6)
    assert reference.fid(a) == pytest.approx(metrics.fid(a, b), rel=1e-9)
    with pytest.raises(UserError, match='holds a mean and a covariance, which is enough for fid alone; set `metrics`'):
        reference.kid(a)
    np.savez_compressed(tmp_path / 'kid.npz', feats=b)  # clean-fid's for KID
    reference = statistics.load(tmp_path / 'kid.npz', ABOUT, 6)
    assert reference.kid(a) == metrics.kid(a, b) and reference.fid(a) == metrics.fid(a, b)
    statistics.load_or_make(tmp_path / 'ours.npz', HOW, lambda: b)
    with np.load(tmp_path / 'ours.npz') as ours:
        np.testing.assert_allclose(ours['mu'], mean)
        np.testing.assert_allclose(ours['sigma'], cov)
        np.testing.assert_array_equal(ours['feats'], b)


def test_what_does_not_fit_is_one_sentence(tmp_path, vectors):
    path = tmp_path / 'x.npz'

    def refused(message, about=ABOUT, **arrays):
        if arrays:
            np.savez(path, **arrays)
        with pytest.raises(UserError, match=f"`statistics` .'{path}'. {message}"):
            statistics.load(path, about, 6)

    mean, cov = np.zeros(6), np.eye(6)
    refused('holds neither mu and sigma nor feats; set it to a file of statistics', mu=mean)
    refused('holds sigma of the shape .5, 5., but features have 6 dimensions', mu=mean, sigma=np.eye(5))
    refused('holds feats of the shape .6,., but', feats=mean)
    refused('holds mu with values that are not finite', mu=mean * np.nan, sigma=cov)
    refused('holds feats with values that are not finite', feats=np.full([2, 6], 'x'))
    refused('was made with the resizing legacy_pytorch, but this one is clean', mu=mean, sigma=cov,
            resizing='legacy_pytorch')  # fmt: skip
    refused('was made with the extractor sha256 1, but', mu=mean, sigma=cov, extractor='sha256 1')
    for data in (b'', b'no archive', b'PK\x03\x04 half'):
        path.write_bytes(data)
        refused('cannot be read')
    np.savez(path, mu=np.array([{}], object), sigma=cov)
    refused('cannot be read')
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match="`statistics` .*file/x.npz'. cannot be written .File exists.; set it to"):
        statistics.load_or_make(tmp_path / 'file' / 'x.npz', HOW, lambda: vectors[0])

"""Measures of translators whose translations are known."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import evaluator, features, metrics
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.settings.models import CycleGANConfig

SIZE = 24


class Negatives:
    """Translates in both directions by turning light into dark, and makes it a little darker than that."""

    def __init__(self, offset=0.0, directions=('AtoB', 'BtoA'), channels=(3, 3), test_errors=('cycle', 'identity')):
        self.offset, self.test_errors = offset, test_errors
        self.translations = {
            name: Translation(name, None, 'G', name[0], name[-1], channels, f'{name[-1]}to{name[0]}')
            for name in directions
        }

    def translate_floats(self, images, direction, names=()):
        assert direction in self.translations and images.dtype == np.float32
        return -images - np.float32(self.offset)


@pytest.fixture
def root(tmp_path):
    """Six photographs in testA and their negatives in testB, five under the same names."""
    for domain in 'AB':
        (tmp_path / f'test{domain}').mkdir()
    for i, picture in enumerate(list(demo.regions('train', 'A').values())[:6]):
        picture = np.asarray(Image.fromarray(picture).resize((SIZE, SIZE)))
        Image.fromarray(picture).save(tmp_path / 'testA' / f'{i}.png')
        Image.fromarray(255 - picture).save(tmp_path / 'testB' / (f'{i}.png' if i < 5 else 'other.png'))
    return tmp_path


@pytest.fixture(scope='module')
def extractor(tmp_path_factory):
    tf.keras.utils.set_random_seed(3)
    layers = [
        tf.keras.layers.Conv2D(6, 3, 2, activation='relu', input_shape=(SIZE, SIZE, 3)),
        tf.keras.layers.GlobalAveragePooling2D(),
    ]
    path = tmp_path_factory.mktemp('extractor') / 'small.keras'
    tf.keras.Sequential(layers).save(path)
    return features.make_extractor(path, input_range=(-1, 1))


def open_images(root, **settings):
    return evaluator.open_test_images(CycleGANConfig(dataroot=str(root), crop_size=SIZE, **settings))


def levels(root, folder):
    return [np.asarray(Image.open(path)) for path in sorted((root / folder).glob('*.png'))]


def test_measures_of_pairs_equal_their_formulas(root):
    # 1/127.5 is a level of 255: each picture comes out two levels too dark, where it does not end at black.
    measured = evaluator.Evaluation(open_images(root), ('psnr', 'ssim', 'edges'), None, batch_size=4)(
        Negatives(2 / 127.5)
    )
    for direction, folder, other in (('AtoB', 'testA', 'testB'), ('BtoA', 'testB', 'testA')):
        values = measured[direction]
        assert (values['images'], values['pairs']) == (6, 5)
        fakes = [np.maximum(255 - picture.astype(int) - 2, 0).astype(np.uint8) for picture in levels(root, folder)[:5]]
        for measure in (metrics.psnr, metrics.ssim):
            expected = np.mean([measure(a, b) for a, b in zip(fakes, levels(root, other)[:5])])
            assert values[measure.__name__] == pytest.approx(expected, rel=1e-12)
        strengths = [np.mean([metrics.edges(x) for x in pictures]) for pictures in (fakes, levels(root, other)[:5])]
        assert values['edges'] == pytest.approx(strengths[0] / strengths[1], rel=1e-12)
        # There and back: -(-x - offset) - offset = x; an image of the target domain comes out as its negative.
        assert values['cycle'] == pytest.approx(0, abs=1e-6)
        targets = np.stack(levels(root, other)) / 127.5 - 1
        assert values['identity'] == pytest.approx(np.abs(-2 * targets - 2 / 127.5).mean(), rel=1e-5)


def test_untranslated_images_are_measured_too(root, extractor):
    evaluate = evaluator.Evaluation(open_images(root), ('psnr', 'fid'), extractor)
    a, b = levels(root, 'testA'), levels(root, 'testB')
    expected = np.mean([metrics.psnr(x, y) for x, y in zip(a[:5], b[:5])])
    fid = metrics.fid(extractor(a), extractor(b))
    untranslated = evaluate.untranslated(Negatives().translations)
    for direction in ('AtoB', 'BtoA'):
        assert untranslated[direction]['psnr'] == pytest.approx(expected)
        assert untranslated[direction]['fid'] == pytest.approx(fid, rel=1e-6)
        assert 'cycle' not in untranslated[direction]


def test_measures_of_features_are_of_translations_against_the_other_domain(root, extractor):
    evaluate = evaluator.Evaluation(open_images(root), ('kid', 'fid'), extractor, batch_size=4)
    values = evaluate(Negatives())['AtoB']
    fakes, reals = extractor([255 - picture for picture in levels(root, 'testA')]), extractor(levels(root, 'testB'))
    assert values['fid'] == pytest.approx(metrics.fid(fakes, reals), abs=1e-9)
    expected = metrics.kid(fakes, reals)
    assert (values['kid'], values['kid_standard_error']) == pytest.approx(tuple(expected), abs=1e-9)
    # The same images in another order are the same distribution.
    assert values['fid'] == pytest.approx(0, abs=1e-6) and evaluate(Negatives(0.5))['AtoB']['fid'] > 1e-3
    assert 'psnr' not in values and 'pairs' not in values


def test_one_direction_alone(root):
    measured = evaluator.Evaluation(open_images(root), ('psnr',), None)(Negatives(directions=('BtoA',)))
    assert list(measured) == ['BtoA'] and 'cycle' not in measured['BtoA'] and measured['BtoA']['psnr'] == np.inf


def test_broken_images_are_named_and_the_others_measured(root):
    (root / 'testA' / '2.png').write_bytes((root / 'testA' / '2.png').read_bytes()[:200])
    evaluate = evaluator.Evaluation(open_images(root), ('psnr',), None)
    values = evaluate(Negatives())
    assert (values['AtoB']['images'], values['AtoB']['pairs']) == (5, 4)
    assert (values['BtoA']['images'], values['BtoA']['pairs']) == (6, 4)
    evaluate(Negatives())
    (line,) = evaluate.problems  # once, however often it is met
    assert '2.png' in line
    for path in (root / 'testA').glob('*.png'):
        path.write_bytes(b'')
    with pytest.raises(UserError, match='no image of .*testA.* can be used; put others there:'):
        evaluator.Evaluation(open_images(root), (), None)(Negatives())


def test_pairs_of_different_sizes_do_not_count(root):
    path = root / 'testB' / '3.png'
    Image.open(path).resize((SIZE + 8, SIZE)).save(path)
    images = open_images(root, preprocess='none', batch_size=1, pool_size=0)
    values = evaluator.Evaluation(images, ('psnr',), None)(Negatives())
    assert values['AtoB']['pairs'] == 4 and values['AtoB']['images'] == 6
    for path in (root / 'testB').glob('*.png'):
        Image.open(path).resize((SIZE, SIZE + 8)).save(path)
    images = open_images(root, preprocess='none', batch_size=1, pool_size=0)
    with pytest.raises(UserError, match='`metrics` .psnr. needs pairs of the same size'):
        evaluator.Evaluation(images, ('psnr',), None)(Negatives())


def test_which_measures_are_taken_depends_on_pairs(root):
    images = open_images(root)
    assert evaluator.choose_measures(None, images) == ('psnr', 'ssim', 'edges')
    assert evaluator.choose_measures('psnr,ssim', images) == ('psnr', 'ssim')
    assert evaluator.choose_measures('fid, psnr', images) == ('fid', 'psnr')
    assert evaluator.choose_measures('none', images) == ()
    for i in range(3):
        (root / 'testB' / f'{i}.png').rename(root / 'testB' / f'{i} b.png')
    images = open_images(root)
    assert images.decision.reason == 'only 2 of 6 have a counterpart of the same name'
    assert evaluator.choose_measures(None, images) == ('kid', 'fid')
    assert evaluator.choose_measures('psnr', images) == ('psnr',) and len(images.pairs['A']) == 2
    said = evaluator.describe_pairs(images, ('psnr',), 'psnr')[0]
    assert 'compared as pairs, as asked for, although only 2' in said
    assert 'not compared as pairs: only 2' in evaluator.describe_pairs(images, ('kid',), None)[0]
    assert not evaluator.describe_pairs(images, ('kid',), 'kid')
    with pytest.raises(UserError, match='`metrics` .psnr. compares pairs, but `pairs` is no'):
        evaluator.choose_measures('psnr', open_images(root, pairs='no'))
    assert evaluator.choose_measures(None, open_images(root, pairs='yes')) == ('psnr', 'ssim', 'edges')
    shutil.move(root / 'testB', root / 'all')
    (root / 'testB').mkdir()
    shutil.copy(root / 'all' / 'other.png', root / 'testB')
    with pytest.raises(UserError, match='`eval_metrics` .kid. compares distributions, .*testB holds 1 image; add'):
        evaluator.choose_measures('kid', open_images(root), 'eval_metrics')
    shutil.copy(root / 'all' / 'other.png', root / 'testB' / 'another.png')
    images = open_images(root)
    assert evaluator.choose_measures(None, images) == ('kid', 'fid')
    with pytest.raises(UserError, match='`metrics` .ssim. compares pairs, .* there are none'):
        evaluator.choose_measures('ssim,kid', images)


def test_with_direction_b_to_a_channels_are_the_folders(root):
    images = open_images(root, direction='BtoA', input_nc=1, output_nc=3, lambda_identity=0.0)
    assert images.channels == {'A': 3, 'B': 1}
    assert images.read('B', 0).shape == (SIZE, SIZE, 1) and images.read('A', 0).shape == (SIZE, SIZE, 3)
    evaluate = evaluator.Evaluation(images, (), None)
    assert evaluate.untranslated(Negatives(channels=(1, 3)).translations) == {}


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'feature_size': '12by4'}, "`feature_size` .'12by4'. is not a side or 'HEIGHTxWIDTH'"),
        ({'feature_range': 'low,high'}, "`feature_range` .'low,high'. is not two numbers"),
        ({'feature_range': '0'}, "`feature_range` .'0'. is not two numbers"),
        ({'feature_extractor': '/nowhere'}, "`feature_extractor` .'/nowhere'. is neither"),
    ],
)
def test_bad_settings_of_features_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        evaluator.make_extractor(CycleGANConfig(dataroot='demo', **settings))

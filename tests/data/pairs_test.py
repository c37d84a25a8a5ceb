"""When images of one name in two domains count as pairs."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cyclegan_tf.data import demo, pairs, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.errors import UserError

NONE, SQUARE = Geometry('none', 36, 32), Geometry('resize_and_crop', 36, 32)


def folders(root, names_a, names_b, size_a=(20, 30), size_b=(20, 30)):
    """The sources of domains whose images have these names."""
    for domain, names, size in (('A', names_a, size_a), ('B', names_b, size_b)):
        (root / f'test{domain}').mkdir()
        for name in names:
            Image.new('RGB', size).save(root / f'test{domain}' / f'{name}.png')
    return sources.open_domains(str(root), 'test')


@pytest.mark.parametrize(
    'names_a, names_b, are_pairs, reason',
    [
        ('abcd', 'abc', True, 'names and sizes agree; contents are compared only of 6 pairs or more'),
        ('abcdef', 'a', True, 'names and sizes agree'),  # all of the fewer
        ('abcd', 'wxyz', False, ''),  # no name speaks for pairs
        ('abcd', 'axyz', False, 'only 1 of 4 have a counterpart of the same name'),
        ('abcd', 'abyz', False, 'only 2 of 4 have a counterpart of the same name'),
    ],
)
def test_most_names_have_to_be_in_both_domains(tmp_path, names_a, names_b, are_pairs, reason):
    a, b = folders(tmp_path, names_a, names_b)
    decision = pairs.decide('auto', a, b, NONE)
    assert decision == pairs.decide('auto', b, a, SQUARE)
    assert decision.are_pairs == are_pairs and decision.reason.startswith(reason)
    places = pairs.find(a, b)
    assert sorted(places) == sorted({*names_a} & {*names_b})
    assert all(b.names[place] == name for name, place in places.items())


def test_most_pairs_have_to_be_of_one_size(tmp_path):
    a, b = folders(tmp_path, 'abcde', 'abcde', size_b=(24, 30))
    for geometry in (NONE, SQUARE):
        decision = pairs.decide('auto', a, b, geometry)
        assert str(decision) == (
            'Images of the same name are not compared as pairs: most counterparts of the same name have another size'
        )
    for name in 'cd':
        Image.new('RGB', (20, 30)).save(tmp_path / 'testB' / f'{name}.png')
    assert not pairs.decide('auto', a, b, NONE).are_pairs
    (tmp_path / 'testA' / 'a.png').write_bytes(b'')  # counts for neither
    assert pairs.decide('auto', a, b, NONE).are_pairs


def test_what_is_said_decides(tmp_path):
    a, b = folders(tmp_path, 'abcd', 'axyz')
    assert pairs.decide('yes', a, b, NONE) == pairs.Decision(True, '--pairs=yes')
    assert pairs.decide('no', a, a, NONE) == pairs.Decision(False, '--pairs=no')
    (tmp_path / 'testB' / 'a.png').unlink()
    with pytest.raises(UserError, match='`pairs` .yes. needs images of the same name in .*testA and .*testB'):
        pairs.decide('yes', *sources.open_domains(str(tmp_path), 'test'), NONE)


def numbered(root, pictures_a, pictures_b):
    """The sources of domains with numbered images, as many data sets have them."""
    for domain, pictures in (('A', pictures_a), ('B', pictures_b)):
        (root / f'test{domain}').mkdir(parents=True)
        for i, picture in enumerate(pictures):
            picture.save(root / f'test{domain}' / f'{i}.png')
    return sources.open_domains(str(root), 'test')


def night(picture):
    """The same scene, darker, bluer, softer and with a little noise."""
    dark = np.asarray(picture.filter(ImageFilter.GaussianBlur(1))) * np.array([0.3, 0.35, 0.5])
    noise = np.random.default_rng(picture.size[0]).normal(scale=6, size=dark.shape)
    return Image.fromarray(np.clip(dark + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize('count', [6, 20])
def test_contents_tell_pairs_from_numbered_sets_of_one_size(tmp_path, count):
    scenes = [Image.fromarray(p).resize((64, 64)) for p in demo.regions('train', 'A').values()]
    others = [Image.fromarray(p).resize((64, 64)) for p in demo.regions('train', 'B').values()]
    a, b = numbered(tmp_path / 'pairs', scenes[:count], map(night, scenes[:count]))
    decision = pairs.decide('auto', a, b, SQUARE)
    assert decision.are_pairs and f'the edges of {count} of them correlate by' in decision.reason
    b_as_negative = numbered(tmp_path / 'negative', scenes[:count], [Image.eval(s, lambda v: 255 - v) for s in scenes])
    assert pairs.decide('auto', *b_as_negative, SQUARE).are_pairs
    for name, shuffled in (('others', others[:count]), ('shifted', [night(s) for s in (*scenes[1:count], scenes[0])])):
        decision = pairs.decide('auto', *numbered(tmp_path / name, scenes[:count], shuffled), SQUARE)
        assert not decision.are_pairs and decision.reason.endswith('--pairs=yes compares them nevertheless')


def test_the_demos_test_images_are_pairs():
    assert pairs.decide('auto', *sources.open_domains('demo', 'test'), Geometry('resize_and_crop', 286, 256)).are_pairs


def test_what_has_no_edges_or_cannot_be_read_decides_nothing(tmp_path):
    flat = [Image.new('RGB', (32, 32), (i * 20, 0, 0)) for i in range(8)]
    a, b = numbered(tmp_path, flat, flat)
    assert 'contents are compared only of 6 pairs or more' in pairs.decide('auto', a, b, SQUARE).reason

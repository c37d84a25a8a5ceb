"""When images of one name in two domains count as pairs."""

import pytest
from PIL import Image

from cyclegan_tf.data import pairs, sources
from cyclegan_tf.data.geometry import Geometry

NONE, SQUARE = Geometry('none', 36, 32), Geometry('resize_and_crop', 36, 32)


def folders(root, names_a, names_b, size_a=(20, 30), size_b=(20, 30)):
    """The sources of domains whose images have these names."""
    for domain, names, size in (('A', names_a, size_a), ('B', names_b, size_b)):
        (root / f'test{domain}').mkdir()
        for name in names:
            Image.new('RGB', size).save(root / f'test{domain}' / f'{name}.png')
    return sources.open_domains(str(root), 'test')


@pytest.mark.parametrize(
    'names_a, names_b, expected',
    [
        ('abcd', 'abc', None),
        ('abcdef', 'a', None),  # all of the fewer
        ('abcd', 'wxyz', None),  # no name speaks for pairs, none against them
        ('abcd', 'axyz', 'only 1 of 4 have a counterpart of the same name'),
        ('abcd', 'abyz', 'only 2 of 4 have a counterpart of the same name'),
    ],
)
def test_most_names_have_to_be_in_both_domains(tmp_path, names_a, names_b, expected):
    a, b = folders(tmp_path, names_a, names_b)
    assert pairs.doubt(a, b, NONE) == pairs.doubt(b, a, SQUARE) == expected
    places = pairs.find(a, b)
    assert sorted(places) == sorted({*names_a} & {*names_b})
    assert all(b.names[place] == name for name, place in places.items())


def test_most_pairs_have_to_be_of_one_size(tmp_path):
    a, b = folders(tmp_path, 'abcde', 'abcde', size_b=(24, 30))
    assert pairs.doubt(a, b, NONE) == 'most counterparts of the same name have another size'
    assert pairs.doubt(a, b, SQUARE) == pairs.doubt(a, b, NONE)
    for name in 'cd':
        Image.new('RGB', (20, 30)).save(tmp_path / 'testB' / f'{name}.png')
    assert pairs.doubt(a, b, NONE) is not None
    (tmp_path / 'testA' / 'a.png').write_bytes(b'')  # counts for neither
    assert pairs.doubt(a, b, NONE) is None

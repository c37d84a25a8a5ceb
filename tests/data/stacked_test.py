"""Images stacked as channels, and pairs that are matched by name."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode, inspection, policies, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.pictures import ReadOptions
from cyclegan_tf.data.table import ImageTable
from cyclegan_tf.errors import UserError
from tests.helpers.image_files import picture

STACKED = sources.Pairing(inputs={'A': (('A', 3), ('A2', 1))})
OPTIONS = [ReadOptions((4,)), ReadOptions((3,))]


def folder(root, name, pictures):
    (root / name).mkdir(parents=True, exist_ok=True)
    for stem, array in pictures.items():
        Image.fromarray(array).save(root / name / f'{stem}.png')


def open_pairs(root, pairing=STACKED, **settings):
    return sources.open_domains(str(root), 'train', 'paired', options=OPTIONS, pairing=pairing, **settings)


@pytest.fixture
def stacked(tmp_path):
    """trainA in colour, trainA2 gray and as PNG, trainB; of 'a' to 'e' some are missing in each."""
    folder(tmp_path, 'trainA', {name: picture(20 + i) for i, name in enumerate('abcd')})
    folder(tmp_path, 'trainA2', {name: picture(20 + i)[..., 0] // 2 for i, name in enumerate('abcde')})
    folder(tmp_path, 'trainB', {name: 255 - picture(20 + i) for i, name in enumerate('abcde') if name != 'b'})
    return tmp_path


def test_images_of_one_name_become_one_image(stacked):
    a, b = open_pairs(stacked)
    assert a.names == b.names == ('a', 'c', 'd') and a.pairing == b.pairing != ''
    found = decode.to_array(a.picture(1))
    assert found.shape == (22, 22, 4)
    np.testing.assert_array_equal(found[..., :3], picture(22))
    np.testing.assert_array_equal(found[..., 3], picture(22)[..., 0] // 2)
    np.testing.assert_array_equal(decode.to_array(b.picture(1)), 255 - picture(22))
    chosen, metadata = a.select([2]).picture_with_metadata(0)
    assert chosen.shape == (23, 23, 4) and metadata.has_bands and not metadata.has_alpha
    assert 'trainA/d.png' in a.label(2) and 'trainA2/d.png' in a.label(2)
    assert len(open_pairs(stacked, max_size=2)[0]) == 2


def test_what_has_no_counterpart_is_named_and_left_out(stacked):
    a, b = open_pairs(stacked)
    notes = '\n'.join((*a.notes, *b.notes))
    assert '1 image has no counterpart of the same name in ' in notes and 'trainA: b.' in notes
    assert '2 images have no counterpart of the same name in ' in notes and 'trainA2: b, e.' in notes
    assert '1 image has no counterpart' in b.notes[0] and b.notes[0].endswith('trainB: e.')


def test_sets_without_pairs_are_refused(stacked):
    for path in (stacked / 'trainB').iterdir():
        path.rename(path.with_stem(f'{path.stem}_b'))
    message = r'(?s)`dataroot` .* holds no pairs: no image of .*trainA has the name of one in .*trainA2 and .*trainB '
    with pytest.raises(UserError, match=message):
        open_pairs(stacked)


def test_every_part_is_checked_and_named(stacked):
    (stacked / 'trainA2' / 'c.png').write_bytes(b'')
    Image.fromarray(picture(30)).save(stacked / 'trainA' / 'd.png')
    a, _ = open_pairs(stacked)
    good, empty, other_size = inspection.inspect(a, 1)
    assert (good.header.channels, good.header.width, good.problem) == (4, 20, None)
    assert 'trainA2/c.png: ' in empty.problem
    assert other_size.problem == 'the images that are stacked differ in size: 30x30 and 23x23'
    with pytest.raises(decode.BadImage, match='differ in size'):
        a.picture(2)


def test_eight_bits_are_scaled_to_sixteen_and_ranges_stay(tmp_path):
    deep = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16) * 200
    folder(tmp_path, 'trainA', {'a': picture(16)})
    folder(tmp_path, 'trainA2', {'a': deep})
    folder(tmp_path, 'trainB', {'a': picture(16)})
    found = open_pairs(tmp_path)[0].picture(0)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[..., :3], picture(16).astype(np.uint16) * 257)
    np.testing.assert_array_equal(found[..., 3], deep)
    options = [ReadOptions((4,), value_range=(0, 1000)), ReadOptions((3,))]
    (a, _) = sources.open_domains(str(tmp_path), 'train', 'paired', options=options, pairing=STACKED)
    found = a.picture(0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., :3], picture(16) / 500.0 - 1, atol=1e-5)
    np.testing.assert_allclose(found[..., 3], np.clip(deep / 500.0 - 1, -1, 1), atol=1e-5)


def test_files_are_stacked_by_name_and_single_ones_as_they_are(stacked):
    places = [str(stacked / 'trainA'), str(stacked / 'trainA2')]
    found = sources.open_stacked_files(places, ReadOptions((4,)), [3, 1])
    assert found.names == ('a', 'b', 'c', 'd') and 'trainA2: e.' in ' '.join(found.notes)
    single = sources.open_stacked_files([f'{places[0]}/a.png', f'{places[1]}/a.png'], ReadOptions((4,)), [3, 1])
    np.testing.assert_array_equal(single.picture(0), found.picture(0))


def test_augmentation_changes_every_part_as_if_it_were_alone():
    colour = tf.constant(np.stack([picture(24), picture(24)[::-1]]).astype(np.float32))
    gray = colour[..., :1] * 0.5
    for name in ('light', 'color'):
        stacked = policies.make_policy(name, 7, (3, 1, 3))
        numbers = tf.constant(np.random.default_rng(0).integers(0, 2**24, (2, stacked.num_random)), tf.int32)
        found = stacked(tf.concat([colour, gray, colour], axis=-1), numbers)
        alone = policies.make_policy(name, 3)(colour, numbers)
        of_gray = policies.make_policy(name, 1)(gray, numbers)
        np.testing.assert_allclose(found, tf.concat([alone, of_gray, alone], axis=-1), atol=1e-3)
        assert np.abs(alone - colour).max() > 1


def test_channels_that_are_divided_otherwise_have_another_cache(stacked, tmp_path):
    found = []
    for parts in ((('A', 3), ('A2', 1)), (('A', 1), ('A2', 3))):
        a, _ = open_pairs(stacked, sources.Pairing(inputs={'A': parts}))
        headers = [finding.header for finding in inspection.inspect(a, 1)]
        table = ImageTable(a, headers, Geometry('resize_and_crop', 16, 16), 4)
        table.keep('disk', str(tmp_path / 'cache'), 1)
        found.append(table.row(0))
    assert not np.array_equal(*found)


def test_values_of_any_type_are_mapped_before_they_become_colour(tmp_path):
    for name, values in (('trainA', [-1000.0, 0.0]), ('trainA2', [500.0, 1000.0]), ('trainB', [0.0, 0.0])):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / 'a.npy', np.full((6, 6), values[0]) + np.arange(6) * (values[1] - values[0]) / 5)
    options = [ReadOptions((6,), value_range=(-1000, 1000)), ReadOptions((1,), value_range=(-1000, 1000))]
    pairing = sources.Pairing(inputs={'A': (('A', 3), ('A2', 3))})
    (a, _) = sources.open_domains(str(tmp_path), 'train', 'paired', options=options, pairing=pairing)
    found = a.picture(0)
    assert found.dtype == np.float32 and found.shape == (6, 6, 6)
    np.testing.assert_allclose(found[0, [0, 5]], [[-1, -1, -1, 0.5, 0.5, 0.5], [0, 0, 0, 1, 1, 1]], atol=1e-6)

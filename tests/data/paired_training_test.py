"""Training on pairs: what belongs together stays together, whatever turns bad; data sets of examples that hold both."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import decode, demo, sources
from cyclegan_tf.data.test_images import open_test_pictures
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.training import Config
from tests.data.training_data_test import open_data
from tests.helpers import program
from tests.helpers.image_files import picture

PAIRED = ('--model=tiny_pix2pix', '--dataset_mode=paired', '--pool_size=0', '--cache=none')
SMALL = [flag for flag in program.SMALL if 'identity' not in flag and 'model' not in flag and 'pool' not in flag]


@pytest.fixture(autouse=True)
def without_flags_of_cycle_gan(monkeypatch):
    monkeypatch.setattr(program, 'SMALL', SMALL)


def folders(root, count=6):
    """Pairs: B is the negative of A."""
    for domain in 'AB':
        (root / f'train{domain}').mkdir(parents=True)
        for i in range(count):
            pixels = picture(40 + i)
            Image.fromarray(pixels if domain == 'A' else 255 - pixels).save(root / f'train{domain}' / f'{i}.png')
    return root


def assert_pairs(data, steps=14):
    """Every B of the stream is the negative of its A; returns how many different pairs there are."""
    seen = set()
    for a, b in data.stream().from_step(0).take(steps).as_numpy_iterator():
        assert np.abs(a + b).max() < 0.03
        seen.add(round(float(a.mean()), 4))
    return len(seen)


@pytest.mark.parametrize('more', [(), ('--augment=strong',), ('--cache=memory', '--batch_size=2')])
def test_one_crop_one_flip_and_one_augmentation_for_both(tmp_path, more):
    more = [flag for flag in more if flag != '--augment=strong']
    assert assert_pairs(open_data(folders(tmp_path), tmp_path / 'cache', *PAIRED, *more)) > 6


def test_one_augmentation_for_both_even_if_it_is_of_colours(tmp_path):
    root = folders(tmp_path)
    for path in (root / 'trainA').iterdir():
        (root / 'trainB' / path.name).write_bytes(path.read_bytes())
    data = open_data(root, tmp_path / 'cache', *PAIRED, '--augment=strong')
    for a, b in data.stream().from_step(0).take(6).as_numpy_iterator():
        np.testing.assert_array_equal(a, b)


def spoil(path):
    """Spoils an image without a trace in its folder."""
    stat, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:60] + b'\0' * (len(data) - 60))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize('where', ['none', 'memory'])
def test_an_image_that_turns_bad_takes_its_counterpart_along(tmp_path, where, capsys):
    root = folders(tmp_path)
    flags = (*PAIRED, '--on_bad_image=skip', f'--cache={where}')
    (root / 'trainA' / '1.png').write_bytes(b'')
    if where == 'memory':  # it turns bad between the check and the reading
        open_data(root, tmp_path / 'cache', *flags, '--cache=none')
        spoil(root / 'trainB' / '4.png')
    data = open_data(root, tmp_path / 'cache', *flags)
    assert 'Skipped: ' in capsys.readouterr().out
    assert len(data.table_a) == len(data.table_b) == (4 if where == 'memory' else 5)
    assert_pairs(data)
    if where == 'none':  # now it turns bad while training reads
        path = root / 'trainB' / '3.png'
        path.write_bytes(path.read_bytes()[:60])
        assert_pairs(open_data(root, tmp_path / 'cache', *flags))
        path.write_bytes(b'')
        stream, count = data.stream(), 0
        for a, b in stream.from_step(0).take(10).as_numpy_iterator():
            assert np.abs(a + b).max() < 0.03
            count += 1
        assert count == 10 and data.scalars()['data/replaced_images'] > 0


def test_an_image_that_turned_bad_since_an_earlier_start_decoded_it_is_replaced_as_a_pair(tmp_path):
    root = folders(tmp_path)
    flags = (*PAIRED, '--on_bad_image=skip', '--cache=memory')
    open_data(root, tmp_path / 'cache', *flags)
    spoil(root / 'trainB' / '4.png')
    data = open_data(root, tmp_path / 'cache', *flags)
    assert len(data.table_a) == len(data.table_b) == 6
    for a, b in data.stream().from_step(0).take(12).as_numpy_iterator():
        assert np.abs(a + b).max() < 0.03
    assert data.scalars()['data/replaced_images'] > 0


def test_pairs_of_other_sizes_need_the_preprocess_that_makes_squares(tmp_path):
    root = folders(tmp_path)
    Image.fromarray(255 - picture(42)).resize((60, 50)).save(root / 'trainB' / '2.png')
    with pytest.raises(UserError, match='it is 42x42, its counterpart 60x50, which only --preprocess=resize_and_crop'):
        open_data(root, tmp_path / 'cache', *PAIRED, '--preprocess=crop')
    assert len(open_data(root, tmp_path / 'cache', *PAIRED).table_a) == 6
    data = open_data(root, tmp_path / 'cache', *PAIRED, '--preprocess=crop', '--on_bad_image=skip')
    assert len(data.table_a) == len(data.table_b) == 5
    assert_pairs(data)


def test_the_demo_has_pairs(tmp_path):
    for mode in ('aligned', 'paired'):
        a, b = sources.open_domains('demo', 'train', mode)
        assert a.names == b.names and len(a) > 100 and a.pairing
        for i in (0, 50, len(a) - 1):
            day, night = (decode.to_array(source.picture(i)) for source in (a, b))
            assert day.shape == (128, 128, 3)
            np.testing.assert_array_equal(demo.day_for_night(day), night)
    # None shows anything of a test image.
    for name, (_, _, row, column) in demo.PHOTOGRAPHS.items():
        for other in (n for n in a.names if n.startswith(f'{name}_')):
            r, c = map(int, other.split('_')[1:])
            assert r + 2 <= row or r >= row + 4 or c + 2 <= column or c >= column + 4


# ----------------------------------------------------------------------------------------------------- val and records
def test_sets_with_val_and_no_test_are_measured_on_val(tmp_path):
    for part in ('train', 'val'):
        (tmp_path / part).mkdir()
        Image.fromarray(picture(40)).save(tmp_path / part / f'{part}.png')
    a, b = sources.open_domains(str(tmp_path), 'test', 'aligned')
    assert a.names == b.names == ('val',) and 'has no test; val is used in its place' in a.notes[0]
    assert sources.open_domains(str(tmp_path), 'val', 'aligned')[0].names == ('val',)
    for domain in 'AB':
        (tmp_path / f'val{domain}').mkdir()
        Image.fromarray(picture(40)).save(tmp_path / f'val{domain}' / '1.png')
    assert sources.open_domains(str(tmp_path), 'test')[1].where.endswith('valB')
    with pytest.raises(UserError, match='has no folder trainA'):
        sources.open_domains(str(tmp_path), 'train')


def write_pairs(root, pixels, counts):
    """Writes a data set of TensorFlow Datasets, pairs, whose examples hold both images.

    Args:
        root: its data_dir.
        pixels: the photographs, [n, h, w, 3]; drawings are their negatives.
        counts: for each split how many of them it has.
    """
    import tensorflow_datasets as tfds

    class Pairs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            image = tfds.features.Image(encoding_format='png')
            features = {
                'photo': image,
                'drawing': tfds.features.Image(encoding_format='png'),
                'id': tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {split: self._generate_examples(count) for split, count in counts.items()}

        def _generate_examples(self, count):
            for i, image in enumerate(pixels[:count]):
                yield i, {'photo': image, 'drawing': 255 - image, 'id': str(i)}

    Pairs(data_dir=root, file_format='array_record').download_and_prepare()


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    """The data_dir of a data set of TensorFlow Datasets whose examples hold both images; and these, [n, h, w, 3]."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 20, 24, 3), np.uint8)
    root = tmp_path_factory.mktemp('pairs')
    write_pairs(root, pixels, {'train': 7, 'validation': 7})
    return str(root), pixels


@pytest.mark.parametrize('mode', ['aligned', 'paired'])
@pytest.mark.parametrize('place', ['tfds:pairs', 'directory'])
def test_examples_that_hold_both_images_are_pairs(both, mode, place):
    root, pixels = both
    dataroot = root if place == 'directory' else place
    features = sources.Pairing(features=('drawing', 'photo'))
    a, b = sources.open_domains(dataroot, 'train', mode, data_dir=root, pairing=features)
    assert len(a) == len(b) == 7 and a.names == b.names and a.pairing == 'each example holds both'
    np.testing.assert_array_equal(decode.to_array(a.picture(5)) + decode.to_array(b.picture(5)), 255)
    assert any(np.array_equal(decode.to_array(b.picture(5)), one) for one in pixels)
    assert a.stamp(0) != b.stamp(0)
    assert len(sources.open_domains(dataroot, 'test', mode, data_dir=root, pairing=features)[0]) == 7
    with pytest.raises(UserError, match='has the image features .*photo.*; say which is which with --input_feature'):
        sources.open_domains(dataroot, 'train', mode, data_dir=root)
    with pytest.raises(UserError, match="has no image feature 'sketch' .its image features: .*drawing"):
        wrong = sources.Pairing(features=('sketch', 'photo'))
        sources.open_domains(dataroot, 'train', mode, data_dir=root, pairing=wrong)


@pytest.mark.parametrize('mode', ['aligned', 'paired'])
def test_a_split_of_test_examples_is_taken_before_val(tmp_path, mode):
    write_pairs(tmp_path, np.zeros((3, 8, 8, 3), np.uint8), {'train': 3, 'validation': 2, 'test': 1})
    features = sources.Pairing(features=('photo', 'drawing'))
    assert len(sources.open_domains(str(tmp_path), 'test', mode, pairing=features)[0]) == 1


@pytest.mark.parametrize('mode', ['aligned', 'paired'])
def test_data_sets_without_pairs_are_refused_in_a_sentence(tmp_path, mode):
    import tensorflow_datasets as tfds

    message = r"`dataroot` .'tfds:cycle_gan/horse2zebra'. holds no pairs: it has the splits .*, but none named train"
    with tfds.testing.mock_data(num_examples=2), pytest.raises(UserError, match=message):
        sources.open_domains('tfds:cycle_gan/horse2zebra', 'train', mode, data_dir=str(tmp_path))


def test_a_bad_test_picture_takes_its_counterpart_along(tmp_path, capsys):
    for domain in 'AB':
        (tmp_path / f'test{domain}').mkdir()
        for i in range(4):
            pixels = picture(40 + i)
            Image.fromarray(pixels if domain == 'A' else 255 - pixels).save(tmp_path / f'test{domain}' / f'{i}.png')
    (tmp_path / 'testA' / '1.png').write_bytes(b'')
    (tmp_path / 'testB' / '9.png').write_bytes((tmp_path / 'testB' / '0.png').read_bytes())
    flags = (f'--dataroot={tmp_path}', *PAIRED, *SMALL)
    pictures = open_test_pictures(parse(Config, ['train', *flags]), 4, Console(1, stream=sys.stdout))
    assert len(pictures) == 3 and all(np.abs(a + b).max() < 0.03 for a, b in pictures)
    assert '1 image has no counterpart of the same name' in capsys.readouterr().out


def test_what_names_no_images_of_a_source_is_refused(tmp_path):
    root = folders(tmp_path)
    with pytest.raises(UserError, match='cannot be used with `input_folders` or with folders as `dataroot`'):
        open_data(root, tmp_path / 'cache', *PAIRED, '--input_feature=x', '--output_feature=y')
    with pytest.raises(UserError, match='cannot be used with `dataroot` .demo.; leave them out'):
        open_data('demo', tmp_path / 'cache', *PAIRED, '--input_folders=A,A2', '--input_nc=6')


def test_one_input_folder_of_another_name_is_taken(tmp_path):
    root = folders(tmp_path)
    (root / 'trainA').rename(root / 'trainA_aligned')
    data = open_data(root, tmp_path / 'cache', *PAIRED, '--input_folders=A_aligned')
    assert_pairs(data)

"""Records of TensorFlow Datasets: read in any order, found by name or folder; and what is damaged or missing."""

import os
import shutil

import numpy as np
import pytest

from cyclegan_tf.data import decode, inspection, records, sources
from cyclegan_tf.errors import UserError
from tests.helpers import program


def test_a_builder_of_tensorflow_datasets(tmp_path):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=5):
        for name in ('tfds:cycle_gan/horse2zebra', 'tfds:cycle_gan:horse2zebra'):
            a, b = sources.open_domains(name, 'train', max_size=4, data_dir=str(tmp_path))
            assert len(a) == len(b) == 4
            assert decode.check(a.read(3)).channels == 3
            # In any order the same images; those of an index are its own.
            images = {index: decode.to_array(a.picture(index)) for index in (2, 0, 3)}
            for index in (0, 2, 3):
                np.testing.assert_array_equal(decode.to_array(a.picture(index)), images[index])
            assert not np.array_equal(images[0], images[2]) and not np.array_equal(images[2], images[3])


@pytest.mark.parametrize('inner', ['', '1.0.0', 'tiny/1.0.0', 'more/tiny/1.0.0'])
def test_a_prepared_data_set_is_found_two_folders_below_without_a_look_at_every_file(tmp_path, monkeypatch, inner):
    root = tmp_path / 'photos [2]'  # which glob would take for a pattern
    (root / 'trainA').mkdir(parents=True)
    for i in range(50):
        (root / 'trainA' / f'{i}.png').write_bytes(b'')
    (root / inner).mkdir(parents=True, exist_ok=True)
    (root / inner / 'dataset_info.json').write_text('{}')
    looked, exists = [], os.path.exists
    monkeypatch.setattr(os.path, 'exists', lambda path: looked.append(path) or exists(path))
    found = records.find_directory(str(root))
    assert found == (None if inner.startswith('more') else str(root / inner).rstrip('/'))
    assert 1 <= len(looked) <= 5


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """A data set that TensorFlow Datasets has written, by file format; pixels [split][index]."""
    import tensorflow_datasets as tfds

    pixels = {
        split: np.random.default_rng(i).integers(0, 256, (23, 6, 7, 3), np.uint8)
        for i, split in enumerate(('trainA', 'trainB'))
    }

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            features = {'image': tfds.features.Image(encoding_format='png'), 'name': tfds.features.Text()}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in pixels}

        def _generate_examples(self, split):
            for i, image in enumerate(pixels[split]):
                yield i, {'image': image, 'name': f'{i}.png'}

    directories = {}
    for file_format in ('array_record', 'tfrecord'):
        root = tmp_path_factory.mktemp(file_format)
        Tiny(data_dir=root, file_format=file_format).download_and_prepare()
        directories[file_format] = root
    return directories, pixels


@pytest.mark.parametrize('file_format', ['array_record', 'tfrecord'])
@pytest.mark.parametrize('place', ['.', 'tiny', 'tiny/1.0.0'])
def test_records_are_read_in_any_order(prepared, file_format, place):
    directories, pixels = prepared
    for split, source in zip(
        ('trainA', 'trainB'), sources.open_domains(str(directories[file_format] / place), 'train')
    ):
        assert sorted(source.names, key=int) == [str(i) for i in range(23)]
        for index in (22, 0, 11, 5, 22):
            expected = pixels[split][int(source.names[index])]
            np.testing.assert_array_equal(decode.to_array(source.picture(index)), expected)


@pytest.mark.parametrize('file_format', ['array_record', 'tfrecord'])
def test_a_prepared_data_set_is_found_by_name_in_another_process(prepared, file_format):
    code = (
        'from cyclegan_tf.data import sources\n'
        f'a, _ = sources.open_domains("tfds:tiny", "train", data_dir={str(prepared[0][file_format])!r})\n'
        f'_, b = sources.open_domains("tfds:tiny:1.0.0", "train", data_dir={str(prepared[0][file_format])!r})\n'
        'print(len(a), len(b), a.picture(3).size)'
    )
    _, output, error = program.run_python('-c', code)
    assert output.splitlines()[-1:] == ['23 23 (7, 6)'], error


def test_what_a_prepared_data_set_lacks_is_named(prepared):
    with pytest.raises(UserError, match='has no split testA; it has: trainA, trainB'):
        sources.open_domains(str(prepared[0]['tfrecord']), 'test')


@pytest.mark.parametrize('file_format', ['array_record', 'tfrecord'])
@pytest.mark.parametrize('what', ['missing', 'flipped', 'cut'])
def test_damaged_records_are_named(prepared, tmp_path, file_format, what):
    shutil.copytree(prepared[0][file_format], tmp_path / 'copy')
    (path,) = (tmp_path / 'copy').rglob(f'*trainA.{file_format}*')
    if what == 'missing':
        path.unlink()
    elif what == 'flipped':
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        source = sources.open_domains(str(tmp_path / 'copy'), 'train')[0]
    except UserError as error:
        assert 'is damaged: split trainA' in str(error) and 'prepare it again' in str(error)
        return
    findings = inspection.inspect(source, 2, str(tmp_path / 'cache'))
    lines = inspection.bad_images(source, findings)
    assert lines and all('trainA #' in line for line in lines)


def test_records_cut_between_two_images_are_named(prepared, tmp_path):
    shutil.copytree(prepared[0]['tfrecord'], tmp_path / 'copy')
    (path,) = (tmp_path / 'copy').rglob('*trainA.tfrecord*')
    length = int.from_bytes(path.read_bytes()[:8], 'little')
    path.write_bytes(path.read_bytes()[: 12 + length + 4])
    with pytest.raises(UserError, match='is damaged: split trainA has 1 of 23 images'):
        sources.open_domains(str(tmp_path / 'copy'), 'train')


def test_what_was_left_unfinished_is_not_read(prepared, tmp_path):
    directory = tmp_path / 'copy' / 'tiny'
    shutil.copytree(prepared[0]['tfrecord'] / 'tiny' / '1.0.0', directory / 'incomplete.AB_1.0.0')
    with pytest.raises(UserError, match='has no folder trainA'):
        sources.open_domains(str(directory), 'train')


@pytest.mark.parametrize(
    'name, message',
    [
        ('tfds:cycle_gan/horse2zebr', 'is not a data set of TensorFlow Datasets .*check the name'),
        ('tfds:there_is_no_such', 'is not a data set of TensorFlow Datasets .*check the name, or --data_dir'),
    ],
)
def test_unknown_data_sets_are_named(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        sources.open_domains(name, 'train', data_dir=str(tmp_path))

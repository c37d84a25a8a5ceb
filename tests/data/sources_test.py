"""Where images come from: folders anywhere, halves, TensorFlow Datasets, the demo."""

import io
import os
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode, demo, inspection, sources
from cyclegan_tf.errors import UserError
from tests.helpers import program


def names(*arguments, **settings):
    return [source.names for source in sources.open_domains(*arguments, **settings)]


# ------------------------------------------------------------------------------------------------------------ folders
def test_folders_are_walked_sorted_then_cut(image_folders):
    deep = image_folders / 'trainA' / 'b' / 'deep'
    deep.mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(deep / 'x.JPG')
    (image_folders / 'trainA' / 'notes.txt').write_text('no image')
    assert names(str(image_folders), 'train')[0] == ('0', '1', '2', '3', '4', 'b/deep/x')
    assert names(str(image_folders), 'train', max_size=2) == [('0', '1'), ('0', '1')]


def test_images_that_differ_in_their_ending_alone_keep_distinct_names(image_folders):
    Image.new('RGB', (8, 8)).save(image_folders / 'trainA' / '0.jpg')
    found = names(str(image_folders), 'train')[0]
    assert len(set(found)) == len(found) == 6


def test_names_with_spaces_and_other_letters(image_folders):
    Image.new('RGB', (8, 8), 'red').save(image_folders / 'trainA' / 'ein schönes Pferd 馬.png')
    source = sources.open_domains(str(image_folders), 'train')[0]
    assert source.names[-1] == 'ein schönes Pferd 馬'
    assert decode.to_array(source.picture(5))[0, 0].tolist() == [255, 0, 0]


def test_a_name_that_is_no_utf8_is_reported(image_folders):
    path = os.path.join(os.fsencode(image_folders), b'trainA', b'\xff\xfe.png')
    open(path, 'wb').close()
    with pytest.raises(UserError, match=r'is not UTF-8 \(.*xff.*rename that file'):
        sources.open_domains(str(image_folders), 'train')


def test_folders_may_be_wherever_tensorflow_reaches():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    for part in ('trainA', 'trainB'):
        tf.io.gfile.makedirs(f'ram://data/{part}/deep')
        with tf.io.gfile.GFile(f'ram://data/{part}/deep/x.png', 'wb') as file:
            file.write(tf.io.encode_png(pixels).numpy())
    source = sources.open_domains('ram://data', 'train')[0]
    assert source.names == ('deep/x',) and source.label(0) == 'ram://data/trainA/deep/x.png'
    np.testing.assert_array_equal(decode.to_array(source.picture(0)), pixels)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda root: '/nowhere/at/all', "`dataroot` .'/nowhere/at/all'. is no folder; set it to"),
        (
            lambda root: (root / 'trainB').rename(root / 'other') and root,
            r'has no folder trainB \(folders in it: other',
        ),
        (lambda root: [p.unlink() for p in (root / 'trainA').iterdir()] and root, "trainA' holds no images; put files"),
    ],
)
def test_what_is_missing_is_named(image_folders, change, message):
    result = change(image_folders)
    with pytest.raises(UserError, match=message):
        sources.open_domains(str(result), 'train')


def test_a_stamp_changes_with_the_file(image_folders):
    source = sources.open_domains(str(image_folders), 'train')[0]
    before = [source.stamp(i) for i in range(2)]
    path = image_folders / 'trainA' / '0.png'
    os.utime(path, ns=(1, 1))
    assert source.stamp(0) != before[0] and source.stamp(1) == before[1]


# -------------------------------------------------------------------------------------------------- aligned and single
def test_aligned_images_hold_a_in_the_left_half_and_b_in_the_right(tmp_path):
    (tmp_path / 'train').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 21, 3), np.uint8)  # of an odd width
    Image.fromarray(pixels).save(tmp_path / 'train' / 'x.png')
    Image.fromarray(pixels[..., 0]).save(tmp_path / 'train' / 'y.tif')
    a, b = sources.open_domains(str(tmp_path), 'train', 'aligned')
    assert a.names == b.names == ('x', 'y')
    np.testing.assert_array_equal(decode.to_array(a.picture(0)), pixels[:, :10])
    np.testing.assert_array_equal(decode.to_array(b.picture(0)), pixels[:, 10:20])
    np.testing.assert_array_equal(decode.to_array(b.picture(1))[..., 0], pixels[:, 10:20, 0])
    header = a.cut_header(decode.read_header(a.read(0)))
    assert (header.width, header.height) == (10, 6)


def test_single_is_the_folder_itself(image_folders):
    (source,) = sources.open_domains(str(image_folders / 'trainB'), 'test', 'single')
    assert source.names == ('0', '1', '2', '3', '4')


# ------------------------------------------------------------------------------------------------ TensorFlow Datasets
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
        assert 'is damaged: split trainA' in str(error) and 'prepare it anew' in str(error)
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
        ('tfds:cycle_gan/horse2zebr', 'is no data set of TensorFlow Datasets .*check the name'),
        ('tfds:there_is_no_such', 'is no data set of TensorFlow Datasets .*check the name, or --data_dir'),
    ],
)
def test_unknown_data_sets_are_named(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        sources.open_domains(name, 'train', data_dir=str(tmp_path))


# ----------------------------------------------------------------------------------------------------------- the demo
def test_demo_is_unpaired_and_its_test_regions_are_pairs_that_training_never_shows():
    train_a, train_b, test_a, test_b = (demo.regions(p, d) for p in ('train', 'test') for d in 'AB')
    assert not set(train_a) & set(train_b)
    assert list(test_a) == list(test_b)
    for name in test_a:
        np.testing.assert_array_equal(demo.day_for_night(test_a[name]), test_b[name])
    # By content, not by name: no training region of either domain is a part of a test region.
    for train, test in ((train_a, test_a), (train_b, test_b)):
        held_out = np.concatenate([t.reshape(-1, demo.HELD_OUT, 3) for t in test.values()])
        rows = {row[i : i + demo.TILE].tobytes() for row in held_out for i in range(0, demo.HELD_OUT, demo.TILE)}
        for tile in train.values():
            if tile.std() > 10:  # a plain sky may well be alike
                assert tile[demo.TILE // 2].tobytes() not in rows


def test_demo_is_read_as_it_was_made():
    for phase in ('train', 'test'):
        for domain, source in zip('AB', sources.open_domains('demo', phase)):
            pictures = demo.regions(phase, domain)
            assert source.names == tuple(pictures)
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(source.read(3)))), list(pictures.values())[3]
            )


def test_demo_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage', None)
    demo.regions.cache_clear()
    with pytest.raises(UserError, match="extra 'demo'"):
        demo.regions('train', 'A')


def test_names_are_unique_whatever_the_files_are_called():
    paths = ['a.jpg', 'a.png', 'a_jpg.png', 'b.png', 'sub/a.jpg', 'a_png_2.bmp', 'a_png.bmp']
    assert sources.unique_names(paths) == ['a_jpg_2', 'a_png_3', 'a_jpg', 'b', 'sub/a', 'a_png_2', 'a_png']

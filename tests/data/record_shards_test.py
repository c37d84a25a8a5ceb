"""Prepared data sets written file by file: byte for byte TensorFlow Datasets' own, whole or not at all."""

import concurrent.futures
import json
import pathlib
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cyclegan_tf.data import decode, record_shards, records
from cyclegan_tf.errors import UserError

FORMATS = ('array_record', 'tfrecord')


def example(number):
    pixels = np.random.default_rng(number).integers(0, 256, (6, 7, 3), np.uint8)
    return {'image': imagecodecs.png_encode(pixels), 'name': f'sub/é {number}.png'}


def write(folder, file_format, lengths, name='tiny', split='trainA'):
    """A split of shards with so many examples each, which are numbered through; its sizes."""
    sizes, first = [], 0
    for number, length in enumerate(lengths):
        path = record_shards.shard_path(str(folder), name, split, file_format, number, len(lengths))
        some = (example(i) for i in range(first, first + length))
        sizes.append(record_shards.write_shard(path, some, record_shards.image_features([3], False), file_format))
        first += length
    return sizes


def theirs(tmp_path, file_format, lengths):
    """The same, written by a builder of TensorFlow Datasets."""

    class Builder(tfds.core.dataset_builder.ShardBasedBuilder, skip_registration=True):
        name, VERSION = 'tiny', tfds.core.Version('1.0.0')

        def _info(self):
            features = record_shards.image_features([3], False)
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _shard_iterators_per_split(self, dl_manager):
            ends = np.cumsum(lengths)
            pairs = list(zip(ends - lengths, ends))
            return {
                split: [lambda pair=pair: ((i, example(i)) for i in range(*pair)) for pair in pairs]
                for split in ('trainB', 'trainA')
            }

    builder = Builder(data_dir=str(tmp_path / 'theirs'), file_format=file_format)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False), download_dir=str(tmp_path / 'downloads')
    )
    return tmp_path / 'theirs' / 'tiny' / '1.0.0'


@pytest.mark.parametrize('file_format', FORMATS)
@pytest.mark.parametrize('lengths', [[3], [2, 1, 4]])
def test_files_and_metadata_are_those_of_tensorflow_datasets(tmp_path, file_format, lengths):
    expected = theirs(tmp_path, file_format, lengths)
    target = tmp_path / 'ours' / 'tiny' / '1.0.0'
    with record_shards.unfinished(str(target)) as folder:
        splits = {split: write(folder, file_format, lengths, split=split) for split in ('trainB', 'trainA')}
        features = record_shards.image_features([3], False)
        record_shards.write_metadata(folder, 'tiny', '1.0.0', splits, features, file_format)
    assert sorted(path.name for path in target.iterdir()) == sorted(path.name for path in expected.iterdir())
    for path in expected.iterdir():
        if path.name == 'dataset_info.json':
            of_theirs, of_ours = (json.loads((folder / path.name).read_text()) for folder in (expected, target))
            assert of_theirs.pop('moduleName') and of_ours == of_theirs
        else:
            assert (target / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize('file_format', FORMATS)
def test_what_is_written_is_opened_even_if_a_part_had_nothing_to_write(tmp_path, file_format):
    target = str(tmp_path / 'tiny' / '1.0.0')
    with record_shards.unfinished(target) as folder:
        sizes = write(folder, file_format, [2, 0, 3])
        features = record_shards.image_features([3], False)
        record_shards.write_metadata(folder, 'tiny', '1.0.0', {'trainA': sizes}, features, file_format)
    assert [number for number, _ in sizes] == [2, 0, 3]
    files = sorted(pathlib.Path(target).glob('*-of-00003'))
    assert [size for _, size in sizes] == [path.stat().st_size for path in files]
    source = records.open_directory(target).open('trainA')
    assert source.names == tuple(f'sub/é {i}' for i in range(5))
    assert [source.read(i) for i in range(5)] == [example(i)['image'] for i in range(5)]


def test_features_tell_what_images_have_in_common():
    found = [
        (record_shards.image_features(*kind)['image'].shape[-1], record_shards.image_features(*kind)['image'].np_dtype)
        for kind in (([1], False), ([4, 4], True), ([1, 4], False), ([2], False), ([], False))
    ]
    assert found == [(1, np.uint8), (4, np.uint16), (3, np.uint8), (3, np.uint8), (3, np.uint8)]


@pytest.mark.parametrize('file_format', FORMATS)
def test_a_shard_that_fails_is_not_there_and_one_that_is_repeated_is_the_same(tmp_path, file_format):
    features = record_shards.image_features([3], False)
    path = tmp_path / 'shard'

    def breaks_off():
        yield example(0)
        assert not path.exists()
        raise OSError('the disk is gone')

    with pytest.raises(OSError, match='the disk is gone'):
        record_shards.write_shard(str(path), breaks_off(), features, file_format)
    assert not list(tmp_path.iterdir())
    # Two attempts at the same time, which Spark makes of a part that seems to be stuck.
    size = record_shards.write_shard(str(path), [example(0), example(1)], features, file_format)
    before = path.read_bytes()

    def slow():
        yield example(0)
        assert path.read_bytes() == before
        assert record_shards.write_shard(str(path), [example(0), example(1)], features, file_format) == size
        assert path.read_bytes() == before
        yield example(1)

    assert record_shards.write_shard(str(path), slow(), features, file_format) == size
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_data_set_appears_when_it_is_complete(tmp_path):
    target = tmp_path / 'tiny' / '1.0.0'
    with pytest.raises(KeyError):
        with record_shards.unfinished(str(target)) as folder:
            write(folder, 'tfrecord', [1])
            (left,) = record_shards.leftovers(str(target))
            assert left == folder and not target.exists()
            raise KeyError
    assert not list(target.parent.iterdir())


def test_an_attempt_goes_on_with_the_whole_files_of_the_one_before(tmp_path):
    target = tmp_path / 'all [2]' / 'tiny' / '1.0.0'
    assert record_shards.leftovers(str(target)) == []
    with pytest.raises(KeyError):
        with record_shards.unfinished(str(target), 'key') as folder:
            write(folder, 'tfrecord', [1])
            (pathlib.Path(folder) / '.host-7-0.part').write_bytes(b'of a worker that was killed')
            raise KeyError
    assert record_shards.leftovers(str(target)) == record_shards.leftovers(str(target), 'other') == [folder]
    assert record_shards.leftovers(str(target), 'key') == []
    with record_shards.unfinished(str(target), 'key') as again:
        assert again == folder
    assert [path.name for path in target.iterdir()] == ['tiny-trainA.tfrecord-00000-of-00001']


@pytest.mark.parametrize('file_format', FORMATS)
def test_image_files_are_stored_as_they_are_or_as_png(tmp_path, image_folders, file_format):
    picture = Image.open(image_folders / 'trainA' / '0.png')
    picture.save(image_folders / 'trainA' / 'a.jpg', quality=90)
    picture.save(image_folders / 'trainA' / 'b.webp', lossless=True)
    names = ('0.png', 'a.jpg', 'b.webp')
    shard = record_shards.ImageShard(
        path=str(tmp_path / f'tiny-trainA.{file_format}-00000-of-00001'),
        file_format=file_format,
        files=[str(image_folders / 'trainA' / name) for name in names],
        folder=str(image_folders),
        options=decode.ReadOptions(channels=()),
        channels=(3,),
        is_deep=False,
    )
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        size = record_shards.write_images(shard, pool, 2)
        features = record_shards.image_features([3], False)
        record_shards.write_metadata(str(tmp_path), 'tiny', '1.0.0', {'trainA': [size]}, features, file_format)
        source = records.open_directory(str(tmp_path)).open('trainA')
        assert source.names == ('trainA/0', 'trainA/a', 'trainA/b')
        stored = [source.read(i) for i in range(3)]
        assert stored[:2] == [(image_folders / 'trainA' / name).read_bytes() for name in names[:2]]
        assert stored[2].startswith(b'\x89PNG')
        np.testing.assert_array_equal(decode.to_array(source.picture(2)), np.asarray(picture))
        (image_folders / 'trainA' / 'b.webp').write_bytes(b'')
        with pytest.raises(UserError, match='b.webp cannot be used: .*; replace or remove it'):
            record_shards.write_images(shard, pool, 2)


def test_who_plans_the_work_needs_no_tensorflow():
    code = (
        'import sys, cyclegan_tf.data.record_shards, cyclegan_tf.settings.records\n'
        "print([name for name in sys.modules if name in ('tensorflow', 'tensorflow_datasets')])"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root)
    assert done.stdout == '[]\n', done.stderr

"""From files to batches: what is read, what is refused, and that a batch depends on (seed, step) alone."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import augment, demo, pipeline, preprocess, sources
from cyclegan_tf.errors import UserError


def tables(size=40, **arguments):
    return [
        preprocess.ImageTable(sources.open_source('demo', 'train', d), size, 3, threads=2, **arguments) for d in 'AB'
    ]


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


def test_demo_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage', None)
    demo.regions.cache_clear()
    with pytest.raises(UserError, match="extra 'demo'"):
        demo.regions('train', 'A')


# -------------------------------------------------------------------------------------------------------------- files
def test_folders_are_walked_sorted_then_cut(image_folders):
    deep = image_folders / 'trainA' / 'b' / 'deep'
    deep.mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(deep / 'x.JPG')
    (image_folders / 'trainA' / 'notes.txt').write_text('no image')
    assert sources.open_source(str(image_folders), 'train', 'A').names == ('0', '1', '2', '3', '4', 'b/deep/x')
    assert sources.open_source(str(image_folders), 'train', 'A', max_size=2).names == ('0', '1')


def test_images_that_differ_in_their_ending_alone_keep_distinct_names(image_folders):
    Image.new('RGB', (8, 8)).save(image_folders / 'trainA' / '0.jpg')
    names = sources.open_source(str(image_folders), 'train', 'A').names
    assert len(set(names)) == len(names) == 6


@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda root: 'nowhere', '`dataroot` .*nowhere.* is no folder'),
        (lambda root: (root / 'trainA').rename(root / 'elsewhere'), 'has no folder trainA .*elsewhere'),
        (lambda root: [p.unlink() for p in (root / 'trainA').iterdir()], 'trainA.* holds no images'),
    ],
)
def test_missing_folders_and_images_are_named(image_folders, spoil, message):
    result = spoil(image_folders)
    with pytest.raises(UserError, match=message):
        sources.open_source(result if isinstance(result, str) else str(image_folders), 'train', 'A')


def test_broken_images_are_named_before_training(image_folders):
    broken = image_folders / 'trainA' / '2.png'
    broken.write_bytes(broken.read_bytes()[:2000])
    source = sources.open_source(str(image_folders), 'train', 'A')
    with pytest.raises(UserError, match=r'2\.png cannot be decoded'):
        preprocess.ImageTable(source, 32, 3, threads=2)
    (image_folders / 'trainA' / '4.png').write_text('no image')
    with pytest.raises(UserError, match=r'2 of 5 images are broken; the first: .*2\.png'):
        preprocess.ImageTable(source, 32, 3, threads=2)


def test_resizing_is_pillows_bicubic(image_folders):
    source = sources.open_source(str(image_folders), 'train', 'A')
    table = preprocess.ImageTable(source, 32, 3, threads=2)
    expected = Image.open(image_folders / 'trainA' / '3.png').resize((32, 32), Image.BICUBIC)
    np.testing.assert_array_equal(table.rows(np.array([3]))[0], np.asarray(expected))


def test_gray_sixteen_bit_and_rotated_images(tmp_path):
    folder = tmp_path / 'trainA'
    folder.mkdir()
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(folder / 'deep.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture = Image.fromarray(np.repeat(np.arange(16, dtype=np.uint8)[:, None] * 10, 8, 1)).convert('RGB')
    picture.save(folder / 'turned.png', exif=exif)
    source = sources.open_source(str(tmp_path), 'train', 'A')
    assert np.asarray(source.read(0, 1)).tolist() == [[40000 >> 8] * 8] * 8
    assert source.read(1, 3).size == (16, 8)
    assert preprocess.ImageTable(source, 8, 1, threads=1).rows(np.array([0, 1])).shape == (2, 8, 8, 1)
    with pytest.raises(UserError, match='input_nc or output_nc .2.'):
        preprocess.ImageTable(source, 8, 2, threads=1)


def test_uint8_to_float_and_back_is_exact():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(preprocess.to_uint8(preprocess.to_float(levels)), levels)
    assert preprocess.to_float(levels)[[0, -1]].tolist() == [-1, 1]
    assert preprocess.to_uint8(np.array([-1.5, 1.5])).tolist() == [0, 255]


# ---------------------------------------------------------------------------------------------------------- the stream
def test_augmentation_crops_flips_and_scales():
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)
    tops, lefts, flips = [0, 4, 2], [4, 1, 0], [0, 1, 1]
    result = augment.augment(tf.constant(images), *map(tf.constant, (tops, lefts, flips)), 8).numpy()
    for i in range(3):
        crop = images[i, tops[i] : tops[i] + 8, lefts[i] : lefts[i] + 8]
        crop = crop[:, ::-1] if flips[i] else crop
        np.testing.assert_allclose(result[i], crop / 127.5 - 1, atol=1e-6)


def test_draws_cover_their_ranges_evenly():
    draws = [augment.draw(100, 3, True, tf.constant([1, step])) for step in range(40)]
    tops, lefts, flips = (np.concatenate(x) for x in zip(*draws))
    for values, count in ((tops, 4), (lefts, 4), (flips, 2)):
        np.testing.assert_allclose(np.bincount(values, minlength=count) / len(values), 1 / count, atol=0.03)
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.05
    assert np.all(augment.draw(100, 3, False, tf.constant([1, 1]))[2] == 0)


def test_two_hundred_seeds_compile_once(tmp_path):
    # XLA writes one file for each module that it compiles.
    program = (
        'import cyclegan_tf, tensorflow as tf\n'
        'from cyclegan_tf.data.augment import augment, draw\n'
        'images = tf.zeros([2, 20, 20, 3], tf.uint8)\n'
        'for step in range(200):\n'
        '    augment(images, *draw(2, 4, True, tf.constant([0, step])), 16)\n'
    )
    flags = f'--xla_dump_to={tmp_path} --xla_dump_hlo_as_text'
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    subprocess.run([sys.executable, '-c', program], check=True, cwd=root, env={**os.environ, 'XLA_FLAGS': flags})
    compiled = [p.name for p in tmp_path.iterdir() if p.name.endswith('before_optimizations.txt')]
    assert len([name for name in compiled if 'augment' in name]) == 1, compiled


@pytest.mark.parametrize('serial', [False, True])
@pytest.mark.parametrize('cache_bytes', [None, 0])
def test_starting_late_gives_the_batches_that_would_have_come(serial, cache_bytes):
    pair = tables(cache_bytes=cache_bytes)
    assert pair[0].cached == (cache_bytes is None)
    make = lambda step: pipeline.unpaired_stream(*pair, 2, 32, 5, step, serial)  # noqa: E731
    through = list(make(0).take(100))  # past the end of an epoch of 73 steps
    for start in (1, 72, 90):
        for late, early in zip(make(start).take(3), through[start:]):
            for x, y in zip(late, early):
                np.testing.assert_array_equal(x, y)


def test_starting_at_step_a_million_costs_no_more_than_at_zero():
    pair, seconds = tables(), []
    for start in (0, 1_000_000):
        begin = time.monotonic()
        next(iter(pipeline.unpaired_stream(*pair, 1, 32, 0, start)))
        seconds.append(time.monotonic() - begin)
    assert seconds[1] < seconds[0] + 1


class Numbers:
    """A table whose images are their own indices."""

    def __init__(self, count):
        self.count, self.shape = count, (1, 1, 3)

    def __len__(self):
        return self.count

    def rows(self, indices):
        return np.broadcast_to(np.asarray(indices, np.uint8)[:, None, None, None], (len(indices), 1, 1, 3))


def indices(steps, *arguments, **settings):
    stream = pipeline.unpaired_stream(Numbers(7), Numbers(4), *arguments, **settings)
    return [np.concatenate([preprocess.to_uint8(x)[:, 0, 0, 0] for x in y]) for y in zip(*stream.take(steps))]


def test_an_epoch_shows_each_image_of_the_larger_domain_once_and_draws_its_partner():
    a, b = indices(200 * 7, 1, 1, 3)
    epochs = a.reshape(200, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 150
    np.testing.assert_allclose(np.bincount(b, minlength=4) / len(b), 0.25, atol=0.04)
    other_a, _ = indices(7, 1, 1, 4)
    assert not np.array_equal(a[:7], other_a)


def test_serial_batches_take_both_domains_in_order():
    a, b = indices(5, 2, 1, 3, serial_batches=True)
    assert a.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert b.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2]


def test_the_domains_are_flipped_independently():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[:, :, 0] = 255

    class One(Numbers):
        def __init__(self):
            self.count, self.shape = 1, (2, 2, 3)

        def rows(self, indices):
            return image

    a, b = zip(*pipeline.unpaired_stream(One(), One(), 1, 2, 0).take(400))
    a, b = (np.concatenate(x)[:, 0, 0, 0] < 0 for x in (a, b))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.15 and a.mean() == pytest.approx(0.5, abs=0.1)
    steady, _ = zip(*pipeline.unpaired_stream(One(), One(), 1, 2, 0, flip=False).take(20))
    assert np.all(np.concatenate(steady)[:, 0, 0, 0] == 1)

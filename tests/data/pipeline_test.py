"""The stream: a batch depends on (seed, step) alone, shards are its rows, augmentation does what it says."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import augment, decode, demo, pipeline, policies, sources, training_data
from cyclegan_tf.data.geometry import PREPROCESS, Geometry
from cyclegan_tf.data.levels import to_float, to_uint8
from cyclegan_tf.data.table import ImageTable
from cyclegan_tf.distribution.devices import set_graph_optimizer
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.training import Config
from tests.helpers import program
from tests.helpers.image_tables import make_table


@pytest.fixture(scope='module')
def photographs_folder(tmp_path_factory):
    """Seven photographs in A and four in B, of several sizes."""
    root = tmp_path_factory.mktemp('photographs')
    for part, count in (('trainA', 7), ('trainB', 4)):
        (root / part).mkdir()
        for i, pixels in enumerate(list(demo.regions('test', 'A').values())[:count]):
            Image.fromarray(pixels).crop((0, 0, 60 + 12 * i, 130 - 14 * i)).save(root / part / f'{i}.png')
    return root


def demo_tables(size=40):
    found = sources.open_domains('demo', 'train')
    headers = [[decode.read_header(s.read(i)) for i in range(len(s))] for s in found]
    return [ImageTable(s, h, Geometry('resize_and_crop', size, 32), 3) for s, h in zip(found, headers)]


def tables(root, cache_dir, where, preprocess_='resize_and_crop'):
    pair = [make_table(root, cache_dir, preprocess_=preprocess_, domain=d) for d in (0, 1)]
    if where != 'none':
        for table in pair:
            table.keep(where, str(cache_dir), 2)
    return pair


def take(stream, count):
    return [[x.numpy() for x in batch] for batch in stream.take(count)]


def assert_equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right):
        for x, y in zip(one, other):
            np.testing.assert_array_equal(x, y)


# ------------------------------------------------------------------------------------------ a function of (seed, step)
@pytest.mark.parametrize(
    'preprocess_, policy',
    [('resize_and_crop', 'light'), ('crop', 'none'), ('none', 'none')],
)
def test_every_cache_gives_the_same_batches_from_any_step_on(photographs_folder, tmp_path, preprocess_, policy):
    batch, crop = (1, None) if preprocess_ == 'none' else (2, 32)
    expected = None
    for where in ('none', 'memory', 'disk'):
        pair = tables(photographs_folder, tmp_path, where, preprocess_)
        make = pipeline.Stream(*pair, batch, crop, 5, augment_policy=policy).from_step
        through = take(make(0), 30)  # past the end of several epochs
        if expected is None:
            expected = through
        assert_equal(through, expected)
        for start in (1, 17):
            assert_equal(take(make(start), 5), expected[start : start + 5])
        stream = pipeline.Stream(*pair, batch, crop, 5, augment_policy=policy)
        for step in (0, 9, 29):
            for x, y in zip(stream.batch(step), expected[step]):
                np.testing.assert_allclose(x, y, atol=2e-6)
    assert not np.array_equal(expected[0][0], take(pipeline.Stream(*pair, batch, crop, 6).from_step(), 1)[0][0])


@pytest.mark.parametrize('where', ['none', 'memory'])
@pytest.mark.parametrize('workers', [1, 2, 3])
def test_workers_take_disjoint_rows_that_are_together_the_batch(photographs_folder, tmp_path, workers, where):
    pair = tables(photographs_folder, tmp_path, where)
    whole = take(pipeline.Stream(*pair, 6, 32, 5).from_step(3), 12)
    shares = [
        take(pipeline.Stream(*pair, 6, 32, 5, worker=w, workers=workers).from_step(3), 12) for w in range(workers)
    ]
    assert shares[0][0][0].shape == (6 // workers, 32, 32, 3)
    assert_equal(whole, [[np.concatenate(x) for x in zip(*batches)] for batches in zip(*shares)])


def test_workers_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(UserError, match=r'`batch_size` \(4\) cannot be divided among 3 workers'):
        pipeline.Stream(*demo_tables(), 4, 32, 0, workers=3)


def test_starting_at_step_a_million_costs_no_more_than_at_zero():
    rows = []

    class Counting(Numbers):
        def row(self, index, crop=None):
            rows.append(index)
            return super().row(index, crop)

    counts = []
    for start in (0, 1_000_000):
        rows.clear()
        next(iter(pipeline.Stream(Counting(7), Counting(4), 1, 1, 0).from_step(start)))
        counts.append(len(rows))
    # What is read ahead of the first batch differs a little from one run to the next, steps are never gone through.
    assert max(counts) < 1000, counts


def test_no_thread_tunes_the_stream():
    """Its iterator would at times be gone only when that thread looks again, after up to a minute."""
    stream = pipeline.Stream(Numbers(3), Numbers(3), 2, 1, 0, flip=False).from_step()
    assert stream.options().autotune.enabled is False
    assert [a.shape for a, _ in take(stream, 2)] == [(2, 1, 1, 3)] * 2


# ------------------------------------------------------------------------------------- which images, in what order
class Numbers:
    """A table whose images are their own indices."""

    dtype, channels, parts, size = np.dtype(np.uint8), 3, (), (1, 1)

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def result_size(self):
        return self.size

    def holds(self, index):
        return True

    def row(self, index, crop=None):
        return np.full((*self.size, 3), index, np.uint8)


def indices(steps, *arguments, counts=(7, 4), **settings):
    stream = pipeline.Stream(*map(Numbers, counts), *arguments, **settings).from_step()
    return [np.concatenate([to_uint8(x)[:, 0, 0, 0] for x in y]) for y in zip(*stream.take(steps))]


def test_an_epoch_shows_each_image_of_the_larger_domain_once_and_draws_its_partner():
    a, b = indices(200 * 7, 1, 1, 3)
    epochs = a.reshape(200, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 150
    np.testing.assert_allclose(np.bincount(b, minlength=4) / len(b), 0.25, atol=0.04)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
    other_a, _ = indices(7, 1, 1, 4)
    assert not np.array_equal(a[:7], other_a)


@pytest.mark.parametrize('counts', [(1, 1), (2, 100), (100, 3)])
def test_epochs_are_whole_however_large_a_block_is_beside_them(counts):
    largest = max(counts)
    larger = indices(largest, 3, 1, 3, counts=counts)[counts.index(largest)]
    drawn = larger[: len(larger) // largest * largest].reshape(-1, largest)
    if counts[0] == largest:  # B is drawn
        assert all(sorted(epoch) == list(range(largest)) for epoch in drawn)
    assert larger.max() < largest


def test_serial_batches_take_both_domains_in_order():
    a, b = indices(5, 2, 1, 3, serial_batches=True)
    assert a.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert b.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2]


def test_batch_size_does_not_change_the_order_of_images():
    np.testing.assert_array_equal(indices(24, 1, 1, 3)[0], indices(4, 6, 1, 3)[0])
    np.testing.assert_array_equal(indices(24, 1, 1, 3)[1], indices(4, 6, 1, 3)[1])


# ----------------------------------------------------------------------------------------------------------- the crops
def test_crops_and_flips_are_pieces_of_the_images_evenly_placed(photographs_folder, tmp_path):
    pair = tables(photographs_folder, tmp_path, 'memory')
    pieces = {}
    for index in range(7):
        image = pair[0].row(index)
        for top in range(5):
            for left in range(5):
                piece = image[top : top + 32, left : left + 32]
                pieces[piece.tobytes()] = (index, top, left, 0)
                pieces[np.ascontiguousarray(piece[:, ::-1]).tobytes()] = (index, top, left, 1)
    found = [pieces[to_uint8(a[0]).tobytes()] for a, _ in take(pipeline.Stream(*pair, 1, 32, 1).from_step(), 1400)]
    for column, count in ((0, 7), (1, 5), (2, 5), (3, 2)):
        shares = np.bincount([one[column] for one in found], minlength=count) / len(found)
        np.testing.assert_allclose(shares, 1 / count, atol=0.05)
    steady = take(pipeline.Stream(*pair, 1, 32, 1, flip=False).from_step(), 100)
    assert all(pieces[to_uint8(a[0]).tobytes()][3] == 0 for a, _ in steady)


@pytest.mark.parametrize('preprocess_', PREPROCESS)
@pytest.mark.parametrize('where', ['none', 'memory'])
def test_results_have_the_exact_size(photographs_folder, tmp_path, preprocess_, where):
    pair = tables(photographs_folder, tmp_path, where, preprocess_)
    geometry = Geometry(preprocess_, 36, 32)
    shapes = {a.shape for a, _ in take(pipeline.Stream(*pair, 1, 32 if geometry.crops else None, 1).from_step(), 30)}
    if geometry.crops:
        assert shapes == {(1, 32, 32, 3)}
    else:
        sizes = [geometry.loaded(60 + 12 * i, 130 - 14 * i) for i in range(7)]
        assert shapes == {(1, height, width, 3) for width, height in sizes}


def test_aligned_images_are_cropped_flipped_and_changed_together(tmp_path):
    (tmp_path / 'train').mkdir()
    for i, pixels in enumerate(demo.regions('test', 'A').values()):
        half = np.asarray(Image.fromarray(pixels).resize((50, 40)))
        Image.fromarray(np.concatenate([half, half], axis=1)).save(tmp_path / 'train' / f'{i}.png')
    for preprocess_, where in (('resize_and_crop', 'memory'), ('resize_and_crop', 'none'), ('crop', 'none')):
        pair = []
        for source in sources.open_domains(str(tmp_path), 'train', 'aligned'):
            headers = [source.cut_header(decode.read_header(source.read(i))) for i in range(len(source))]
            pair.append(ImageTable(source, headers, Geometry(preprocess_, 36, 32), 3))
            if where == 'memory':
                pair[-1].keep(where, str(tmp_path), 2)
        batches = take(pipeline.Stream(*pair, 2, 32, 1, aligned=True, augment_policy='color').from_step(), 20)
        for a, b in batches:
            np.testing.assert_array_equal(a, b)
        assert len({a.tobytes() for a, _ in batches}) == 20


def test_the_domains_are_cropped_and_flipped_independently():
    class Ramp(Numbers):
        size = (2, 6)

        def result_size(self):
            return (2, 2)

        def row(self, index, crop=None):
            return np.broadcast_to(np.arange(6, dtype=np.uint8)[None, :, None] * 10, (2, 6, 3))

    a, b = zip(*take(pipeline.Stream(Ramp(1), Ramp(1), 1, 2, 0).from_step(), 400))
    a, b = (to_uint8(np.concatenate(x))[:, 0, :, 0].astype(int) for x in (a, b))
    for column in (a[:, 1] - a[:, 0], a.min(axis=1)):  # flips, places
        other = b[:, 1] - b[:, 0] if column is a else b.min(axis=1)
        assert abs(np.corrcoef(column, other)[0, 1]) < 0.15


def test_sixteen_bits_reach_the_networks():
    class Deep(Numbers):
        dtype, size = np.dtype(np.uint16), (8, 8)

        def row(self, index, crop=None):
            return np.arange(8 * 8 * 3, dtype=np.uint16).reshape(8, 8, 3) * 300

    for policy in ('none', 'affine'):
        ((a, _),) = take(pipeline.Stream(Deep(3), Deep(3), 1, 8, 0, flip=False, augment_policy=policy).from_step(), 1)
        if policy == 'none':
            np.testing.assert_allclose(a[0], to_float(Deep(1).row(0)), atol=1e-6)
        assert len(np.unique(a)) > 150 and a.min() >= -1 and a.max() <= 1


# -------------------------------------------------------------------------------------------------------------- draws
def test_numbers_depend_on_the_position_alone():
    seed = tf.constant(3, tf.int64)
    whole = augment.random_integers(seed, tf.constant(0, tf.int64), 100, 5).numpy()
    for first, count in ((0, 1), (15, 2), (16, 16), (37, 30), (99, 1)):
        part = augment.random_integers(seed, tf.constant(first, tf.int64), count, 5).numpy()
        np.testing.assert_array_equal(part, whole[first : first + count])
    assert whole.min() >= 0 and whole.max() < 2**24
    assert np.abs(np.corrcoef(whole.T) - np.eye(5)).max() < 0.35
    assert not np.array_equal(
        whole, augment.random_integers(tf.constant(4, tf.int64), tf.constant(0, tf.int64), 100, 5)
    )


@pytest.mark.parametrize('kind', ['CPU', 'GPU'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_the_compiled_augmentation_equals_the_plain_one_to_the_bit(kind, dtype):
    set_graph_optimizer(kind)  # as trainings leave it
    images = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (16, 20, 24, 3), dtype)
    images[:, :, ::4], images[:, :, 1::4] = 0, np.iinfo(dtype).max  # whatever is cut has some
    numbers = augment.random_integers(tf.constant(3, tf.int64), tf.constant(0, tf.int64), 16, 3)
    for crop_size, flip in ((16, True), (16, False), (None, True), (None, False)):
        plain, compiled = (augment.make_augment(crop_size, flip, None, jit)(images, numbers) for jit in (False, True))
        np.testing.assert_array_equal(plain, compiled)
        assert float(tf.reduce_max(plain)) == 1 and float(tf.reduce_min(plain)) == -1


def test_two_hundred_seeds_compile_once(tmp_path):
    # XLA writes one file for each module that it compiles.
    code = (
        'import cyclegan_tf, tensorflow as tf\n'
        'from cyclegan_tf.data.augment import make_augment, random_integers\n'
        'images = tf.zeros([2, 20, 20, 3], tf.uint8)\n'
        'change = make_augment(16, True, None, True)\n'
        'for seed in range(200):\n'
        '    change(images, random_integers(tf.constant(seed, tf.int64), tf.constant(seed, tf.int64), 2, 3))\n'
    )
    flags = f'--xla_dump_to={tmp_path} --xla_dump_hlo_as_text'
    status, _, error = program.run_python('-c', code, XLA_FLAGS=flags)
    assert status == 0, error
    compiled = [p.name for p in tmp_path.iterdir() if p.name.endswith('before_optimizations.txt')]
    assert len(compiled) == 1, compiled


def test_the_settings_name_every_policy():
    choices = Config.__dataclass_fields__['augment'].metadata['choices']
    assert choices == ('none', *policies.POLICIES)
    assert Config.__dataclass_fields__['preprocess'].metadata['choices'] == PREPROCESS
    assert Config.__dataclass_fields__['dataset_mode'].metadata['choices'] == sources.DATASET_MODES


# ------------------------------------------------------------------------------------------- no more jitter, as in CUT
@pytest.mark.parametrize('cache', ['none', 'memory'])
def test_jitter_ends_at_each_images_own_epoch_from_whatever_step(tmp_path, cache):
    flags = ('--model=tiny_cut', '--dataroot=demo', '--max_dataset_size=7', '--load_size=48', '--crop_size=32',
             '--n_epochs=2', '--n_epochs_decay=2', '--batch_size=3', '--no_flip', f'--cache={cache}')  # fmt: skip
    config = parse(Config, ['train', *flags])
    data = training_data.open_training_data(config, Console(1, stream=io.StringIO()))
    assert data.sizes == ((32, 32), (32, 32)) and data.unjittered is not None
    whole = [np.asarray(x) for x in data.stream().from_step(0).take(9).as_numpy_iterator()]  # [step][domain, 3, ...]
    tables = data.unjittered
    squares = [[table.row(i) / 127.5 - 1 for i in range(7)] for table in tables]
    for step, batch in enumerate(whole):
        for row in range(3):
            is_late = step * 3 + row >= 2 * 7
            for domain in range(2):
                distance = min(np.abs(batch[domain, row] - square).max() for square in squares[domain])
                assert (distance < 1e-5) == is_late, (step, row, domain)
    for start in (4, 5, 7):  # within the step of the switch, too
        again = next(data.stream().from_step(start).as_numpy_iterator())
        np.testing.assert_array_equal(again, whole[start])
    np.testing.assert_array_equal(data.stream().batch(5), whole[5])
    first = dataclasses.replace(config, epoch_count=3)
    data = training_data.open_training_data(first, Console(1, stream=io.StringIO()))
    batch = next(data.stream().from_step(0).as_numpy_iterator())
    assert min(np.abs(batch[0][0] - square).max() for square in squares[0]) < 1e-5

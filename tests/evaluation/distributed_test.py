"""FID and KID in parts are those of all at once; the parts are handed out here, one after another."""

import dataclasses
import functools
import json
import os
import pathlib
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf import evaluate
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import distributed, metrics
from cyclegan_tf.evaluation.feature_files import Features, Place
from cyclegan_tf.settings.spark_measure import SparkMeasureConfig
from tests.helpers import program

PART = 7  # items


def run(work, items, per_part, what, counts_of, counters):
    """Work by parts, of which nothing is known to another but what can be sent."""
    results, total = [], 0
    for part, start in enumerate(range(0, len(items), PART)):
        sent = pickle.loads(pickle.dumps((work, items[start : start + PART])))
        for result in sent[0](part, iter(sent[1])):
            total += sum(number for name, number in counts_of(result).items() if name in counters)
            results.append(pickle.loads(pickle.dumps(result)))
    assert total == len(items), what
    return results


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """fakes with 90 images of several sizes, reals with 101, and an extractor of two dimensions."""
    place = tmp_path_factory.mktemp('large')
    random = np.random.default_rng(0)
    for folder, number in (('fakes', 90), ('reals', 101)):
        (place / folder / 'sub').mkdir(parents=True)
        for index in range(number):
            low = random.integers(0, 200) + 20 * (folder == 'reals')
            pixels = random.integers(low, low + 30, size=(8 + index % 3, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / folder / ('sub' if index % 5 == 1 else '') / f'{index}.png')
    (place / 'fakes' / '30.png').write_text('no image')
    (place / 'reals' / 'sub' / '91.png').write_bytes(b'')
    (place / 'reals' / 'readme.txt').write_text('passed over')
    tf.keras.utils.set_random_seed(3)
    # Its output is averaged in float64, which takes files of float64.
    layers = [tf.keras.layers.Conv2D(2, 3, activation='relu')]
    tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *layers]).save(place / 'small.keras')
    return place


def settings_of(place, results_dir, **changes):
    given = {
        'fakes': str(place / 'fakes'),
        'reals': str(place / 'reals'),
        'feature_extractor': str(place / 'small.keras'),
        'feature_range': '-1,1',
        'results_dir': str(results_dir),
    }
    return SparkMeasureConfig(**{**given, **changes})


def measure(settings):
    with distributed.scratch(settings) as folder:
        distributed.measure(folder, distributed.find(settings), run)


def written(results_dir):
    return json.loads((results_dir / 'folders' / 'metrics.json').read_text())


def test_figures_and_files_are_those_of_evaluate(place, tmp_path, capsys):
    settings = settings_of(place, tmp_path / 'parts')
    with pytest.raises(UserError, match='2 images could not be used, see above; all others were.'):
        measure(settings)
    in_parts = capsys.readouterr()
    names = ('fakes', 'reals', 'feature_extractor', 'feature_range')
    flags = [f'--{name}={getattr(settings, name)}' for name in names]
    with pytest.raises(UserError, match='2 images could not be used, see above; all others were.'):
        evaluate.main(evaluate.parse(['evaluate', f'--results_dir={tmp_path / "once"}', *flags]))
    at_once = capsys.readouterr()
    found, expected = written(tmp_path / 'parts'), written(tmp_path / 'once')
    assert found['results'] == pytest.approx(expected['results'], rel=1e-6) and found['results']['images'] == 90
    assert list(found['results']) == list(expected['results'])
    assert all(found[name] == expected[name] for name in ('features', 'statistics', 'classes'))
    assert in_parts.out.splitlines()[:-1] == at_once.out.splitlines()[:-1]
    # What could not be used is told likewise, and stands in the file, too.
    assert in_parts.err == at_once.err and in_parts.err.count('Skipped: ') == 2
    assert [f'Skipped: {line}' for line in found['problems']] == in_parts.err.splitlines()
    assert sorted(path.name for path in (tmp_path / 'parts' / 'folders').iterdir()) == ['metrics.json']


def test_one_measure_of_the_first_images(place, tmp_path):
    with pytest.raises(UserError, match='1 image could not'):
        measure(settings_of(place, tmp_path, metrics='fid', num_test=25))
    found = written(tmp_path)['results']
    assert list(found) == ['images', 'reals', 'fid'] and found['images'] == found['reals'] == 25
    # The same set twice is at no distance.
    with pytest.raises(UserError, match='1 image could not'):
        measure(settings_of(place, tmp_path, reals=str(place / 'fakes')))
    assert written(tmp_path)['results']['fid'] == pytest.approx(0, abs=1e-6)
    assert len(written(tmp_path)['problems']) == 1  # it is the same file


def features_in_files(folder, rows, sizes):
    place = Place(SparkMeasureConfig(fakes='a', reals='b'), str(folder))
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    files = [place.write('fakes', '.npy', lambda file, part=part: np.save(file, part)) for part in parts]
    return Features(place, tuple(files), tuple(sizes))


def test_kid_by_subsets_reads_their_rows_alone(tmp_path):
    random = np.random.default_rng(0)
    a = random.normal(size=(1100, 6)).astype(np.float32)
    b = random.normal(size=(1003, 6)).astype(np.float32) + 0.1
    features = {
        'fakes': features_in_files(tmp_path, a, [1, 1000, 99]),
        'reals': features_in_files(tmp_path, b, [500, 503]),
    }
    assert len(features['fakes']) == 1100
    chosen = np.array([1099, 0, 1000, 1001, 1, 5])
    np.testing.assert_array_equal(features['fakes'].rows(chosen), a[chosen])
    np.testing.assert_array_equal(np.concatenate(list(features['reals'])), b)
    subsets = list(metrics.draw_subsets(1100, 1003))
    assert len(subsets) == 100
    parts = run(functools.partial(distributed.compare_subsets, features), subsets, 4, 'KID', one, ['done'])
    found = metrics.kid_of_subsets(1100, 1003, ((*subset, *part) for subset, part in zip(subsets, parts)))
    assert found == pytest.approx(metrics.kid(a, b), rel=1e-12)


def one(result):
    return {'done': 1}


def test_kid_of_all_images_compares_piece_by_piece(tmp_path):
    random = np.random.default_rng(0)
    a, b = random.normal(size=(70, 4)), random.normal(size=(40, 4)) + 0.2
    features = {
        'fakes': features_in_files(tmp_path, a, [1, 60, 9]),
        'reals': features_in_files(tmp_path, b, [3, 37]),
    }
    items = [('fakes', slice(0, 1)), ('fakes', slice(1, 3)), ('reals', slice(0, 2))]
    parts = list(distributed.compare_all(features, 0, items))
    found = metrics.kid_of_all(np.concatenate(parts[:2]), parts[2])
    assert found == pytest.approx(metrics.kid(a, b), rel=1e-12)


@pytest.mark.parametrize(
    'counts, least, expected',
    [
        ([], 5, []),
        ([3], 5, [(0, 1)]),
        ([5, 5], 5, [(0, 1), (1, 2)]),
        ([2, 2, 2, 9, 1], 5, [(0, 3), (3, 4), (4, 5)]),
    ],
)
def test_files_are_grouped_by_their_rows(counts, least, expected):
    assert [(one.start, one.stop) for one in distributed.group(counts, least)] == expected


def test_too_few_images_are_one_sentence(place, tmp_path):
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad' / 'x.png').write_text('no image')
    settings = settings_of(place, tmp_path / 'results', fakes=str(tmp_path / 'bad'))
    with pytest.raises(
        UserError, match=r'`fakes` .* has 0 images that can be used .*x.png: it is not an image.*, but at least 2'
    ):
        measure(settings)
    assert [path.name for path in (tmp_path / 'results' / 'folders').iterdir()] == []
    with pytest.raises(UserError, match=r'`reals` .* has 1 image that can be used, but at least 2 are needed; add'):
        measure(settings_of(place, tmp_path / 'results', reals=str(place / 'reals' / '0.png')))
    with pytest.raises(UserError, match='`reals` .*nowhere.* is not a file or folder'):
        distributed.find(settings_of(place, tmp_path / 'results', reals=str(tmp_path / 'nowhere')))
    with pytest.raises(UserError, match='`feature_extractor` .* is neither one of'):
        measure(settings_of(place, tmp_path / 'results', feature_extractor='taste'))


def test_sums_take_no_more_space_than_needed(place, tmp_path):
    settings, files = settings_of(place, tmp_path, metrics='fid'), []

    def watched(work, items, per_part, what, *others):
        results = run(work, items, per_part, what, *others)
        if what == 'FID':
            files.append(len(list((tmp_path / 'folders').glob('.unfinished/*/*.npz'))))
        return results

    with distributed.scratch(settings) as folder, pytest.raises(UserError, match='2 images could not be used'):
        distributed.measure(folder, distributed.find(settings), watched)
    # 89 and 100 rows in files of 7 or fewer; three files, 16 rows or more, make a sum; then four sums one; then two.
    assert files == [5 + 5, 10 + 2 + 2, 4 + 1 + 1]


def test_large_images_are_refused_as_by_evaluate(place, tmp_path, capsys):
    settings = settings_of(place, tmp_path, max_image_pixels=80, num_test=7)
    with pytest.raises(UserError, match='could not be used'):
        measure(settings)
    sizes = [Image.open(image.path).size for image in distributed.find(settings)]
    expected = [f'it claims 9x{height} pixels; --max_image_pixels (80)' for width, height in sizes if height > 8]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(expected) > 0 and all(one in line for line, one in zip(told, expected))


def test_workers_that_differ_are_one_sentence(place, tmp_path):
    settings = settings_of(place, tmp_path)
    images = distributed.find(settings)[:3]
    ((about, _),) = distributed.describe(settings, 0, [None])
    with distributed.scratch(settings) as folder:
        with pytest.raises(UserError, match='`feature_extractor` .* is not the same on all workers; give all of them'):
            list(distributed.write_features(folder, {**about, 'sha256': 'another'}, 0, images))
        away = dataclasses.replace(folder, folder=str(tmp_path / 'away'))
        with pytest.raises(
            UserError, match='`results_dir` .* cannot be written by a worker .No such file or directory'
        ):
            list(distributed.write_features(away, about, 0, images))


def test_features_that_are_not_finite_are_one_sentence(place, tmp_path):
    layers = [tf.keras.layers.GlobalAveragePooling2D(), tf.keras.layers.Lambda(tf.math.log)]
    tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *layers]).export(tmp_path / 'logarithm')
    settings = settings_of(place, tmp_path / 'results', feature_extractor=str(tmp_path / 'logarithm'))
    # Behind a bad image, which has no row.
    images = [image for image in distributed.find(settings) if image.side == 'fakes']
    bad = [image.path.endswith('/30.png') for image in images].index(True)
    dark = [image.path for image in images[bad + 1 :] if np.asarray(Image.open(image.path)).max() < 127]
    kept = images[bad : bad + 1] + [image for image in images if image.path == dark[0]]
    ((about, _),) = distributed.describe(settings, 0, [None])
    with distributed.scratch(settings) as folder:
        with pytest.raises(UserError, match=f"`fakes` has features that are not finite, those of '{dark[0]}'; check"):
            list(distributed.write_features(folder, about, 0, kept))


def test_what_a_killed_program_left_is_deleted_or_told(place, tmp_path, capsys):
    settings = settings_of(place, tmp_path)
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    unfinished = tmp_path / 'folders' / '.unfinished'
    mine, foreign = unfinished / f'{socket.gethostname()}-{ended.pid}-0', unfinished / 'elsewhere-1-0'
    for folder in (mine, foreign):
        folder.mkdir(parents=True)
        (folder / 'fakes.npy').write_text('')
    with distributed.scratch(settings) as first:
        assert not mine.exists() and foreign.exists()
        told = capsys.readouterr().err
        assert told == f"'{foreign}' is of a program that runs, or was killed on another machine.\n"
        with distributed.scratch(settings) as second:
            assert pathlib.Path(first.folder) != pathlib.Path(second.folder) and os.path.isdir(first.folder)
        assert os.path.isdir(first.folder) and not os.path.isdir(second.folder)
    assert [path.name for path in unfinished.iterdir()] == ['elsewhere-1-0']


def test_workers_need_not_run_where_the_program_does(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    settings = settings_of(place, 'results', fakes='fakes', feature_extractor='small.keras', num_test=3)
    with distributed.scratch(settings) as folder:
        monkeypatch.chdir(tmp_path)
        assert folder.settings.feature_extractor == str(place / 'small.keras')
        assert folder.folder.startswith(str(place / 'results' / 'folders'))
    (place / 'inception_v3').mkdir()
    monkeypatch.chdir(place)
    assert all(os.path.isabs(image.path) for image in distributed.find(settings))
    with distributed.scratch(settings_of(place, 'results', feature_extractor='inception_v3')) as folder:
        assert folder.settings.feature_extractor == 'inception_v3'  # a network, whatever lies here


def test_planning_needs_no_tensorflow(place, tmp_path):
    code = f"""
import sys
from cyclegan_tf.evaluation import distributed
from cyclegan_tf.settings.spark_measure import SparkMeasureConfig
settings = SparkMeasureConfig(fakes={str(place / 'fakes')!r}, reals={str(place / 'reals')!r},
                              results_dir={str(tmp_path)!r})
with distributed.scratch(settings):
    print(len(distributed.find(settings)), sorted({{'tensorflow', 'keras', 'pyspark'}} & set(sys.modules)))
"""
    status, output, error = program.run_python('-c', code, real=True)
    assert (status, output) == (0, '191 []\n'), error


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'fakes': ''}, "`fakes` .''. is required; set it to a folder of images."),
        ({'reals': ''}, "`reals` .''. is required"),
        ({'metrics': 'psnr'}, "`metrics` .'psnr'. is not one of: kid, fid, or none."),
        ({'metrics': 'none'}, '`metrics` .none. leaves nothing to measure; set it to kid, fid or kid,fid.'),
        ({'results_dir': 's3://bucket/x'}, "`results_dir` .'s3://bucket/x'. has to be a path, which all workers reach"),
        ({'num_test': 0}, '`num_test`'),
        ({'partitions': 0}, '`partitions`'),
    ],
)
def test_wrong_settings_are_one_sentence(changes, message):
    with pytest.raises(UserError, match=message):
        SparkMeasureConfig(**{'fakes': 'a', 'reals': 'b', **changes})

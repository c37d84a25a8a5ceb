"""FID and KID of two folders on Spark are those of cyclegan_tf.evaluate, whatever is killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf import evaluate
from cyclegan_tf.errors import UserError
from tests.helpers import program
from tests.helpers.spark_workers import workers

pytestmark = pytest.mark.spark

TOOL = program.ROOT / 'tools' / 'spark_measure.py'
FLAGS = ('--fakes=fakes', '--reals=reals', '--feature_extractor=small.keras', '--feature_range=-1,1')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """More than 1,000 images each in fakes and reals, so that KID takes subsets, and a bad one among them; small.keras,
    a feature network; and in `expected` what evaluate measures."""
    place = tmp_path_factory.mktemp('spark_measure')
    random = np.random.default_rng(0)
    for folder, number in (('fakes', 1003), ('reals', 1012)):
        (place / folder / 'sub').mkdir(parents=True)
        for index in range(number):
            low = random.integers(0, 200) + 20 * (folder == 'reals')
            pixels = random.integers(low, low + 30, size=(8 + index % 3, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / folder / ('sub' if index % 5 == 1 else '') / f'{index}.png')
    (place / 'fakes' / '30.png').write_text('no image')
    (place / 'reals' / 'sub' / '91.png').write_bytes(b'')
    tf.keras.utils.set_random_seed(3)
    layers = [tf.keras.layers.Conv2D(6, 3, activation='relu'), tf.keras.layers.GlobalAveragePooling2D()]
    tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *layers]).save(place / 'small.keras')
    flags = [flag.replace('=fakes', f'={place}/fakes').replace('=reals', f'={place}/reals') for flag in FLAGS]
    flags = [flag.replace('=small', f'={place}/small') for flag in flags]
    with pytest.raises(UserError, match='2 images could not be used'):
        evaluate.main(evaluate.parse(['evaluate', *flags, f'--results_dir={place / "expected"}']))
    return place


def start(place, results_dir, *flags, master='local[2]', **variables):
    return subprocess.Popen(
        [sys.executable, TOOL, *FLAGS, f'--results_dir={results_dir}', f'--master={master}', *flags],
        cwd=place,
        env={**os.environ, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process, status=1):
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, out + err
    return out, err


def measured(results_dir):
    return json.loads((results_dir / 'folders' / 'metrics.json').read_text())


def test_two_at_once_and_the_figures_of_evaluate(place, tmp_path):
    few = start(place, tmp_path / 'few', '--metrics=fid', '--num_test=20', '--partitions=3', master='local[1]')
    beside = start(place, tmp_path / 'all', '--num_test=2', '--metrics=fid', master='local[1]')
    out, err = finish(start(place, tmp_path / 'all'))
    finish(few, status=0)
    finish(beside, status=0)
    found, expected = measured(tmp_path / 'all'), measured(place / 'expected')
    # Which of both was the last to write its results is a matter of chance.
    if found['results']['images'] == 2:
        out, err = finish(start(place, tmp_path / 'all'))
        found = measured(tmp_path / 'all')
    assert found['results'] == pytest.approx(expected['results'], rel=1e-6) and found['results']['images'] == 1003
    assert found['results']['kid_standard_error'] > 0
    assert found['features'] == expected['features']
    assert '1,003 images, compared with 1,012 real images.\nkid 0.' in out
    lines = [line for line in err.splitlines() if line.startswith('Skipped: ')]
    assert lines == [
        f'Skipped: {place}/fakes/30.png: it is not an image of a known format',
        f'Skipped: {place}/reals/sub/91.png: the file is empty',
    ]
    assert [f'Skipped: {line}' for line in found['problems']] == lines
    assert err.endswith('tools/spark_measure.py: 2 images could not be used, see above; all others were.\n')
    assert measured(tmp_path / 'few')['results']['images'] == 20
    for name in ('few', 'all'):
        assert [path.name for path in (tmp_path / name / 'folders').iterdir()] == ['metrics.json']


def wait_for_features(results_dir, number, process):
    ends = time.monotonic() + 120
    while len(features(results_dir)) < number and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.02)
    assert process.poll() is None and features(results_dir), process.communicate()


def features(results_dir):
    return list((results_dir / 'folders').glob('.unfinished/*/*.npy'))


def test_a_killed_program_and_killed_workers(place, tmp_path):
    process = start(place, tmp_path, '--partitions=60')
    wait_for_features(tmp_path, 2, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(below, timeout=30)
    left = [path.parent for path in features(tmp_path)][0]
    process = start(place, tmp_path, '--partitions=60')
    wait_for_features(tmp_path, 1, process)  # of the killed program
    while left.exists() and process.poll() is None:
        time.sleep(0.02)
    wait_for_features(tmp_path, 5, process)
    for one in workers(process):  # of which some wait
        one.kill()
    _, err = finish(process)
    assert 'repeated.' in err
    assert measured(tmp_path)['results'] == pytest.approx(measured(place / 'expected')['results'], rel=1e-6)
    assert [path.name for path in (tmp_path / 'folders').iterdir()] == ['metrics.json']


def test_a_signal_leaves_nothing(place, tmp_path):
    process = start(place, tmp_path, '--partitions=60')
    wait_for_features(tmp_path, 2, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    psutil.wait_procs(below, timeout=30)
    assert list((tmp_path / 'folders').iterdir()) == []


@pytest.mark.parametrize(
    'flags, complaint',
    [
        (['--reals=nothing'], "`reals` ('nothing') is not a file or folder"),
        (['--feature_extractor=taste'], "`feature_extractor` ('taste') is neither one of"),
    ],
)
def test_what_the_user_can_correct(place, tmp_path, flags, complaint):
    _, err = finish(start(place, tmp_path, *flags, '--num_test=4'))
    (line,) = [line for line in err.splitlines() if line.startswith('tools/spark_measure.py: ')]
    assert complaint in line and 'Traceback' not in err


def test_java_that_is_missing(place, tmp_path):
    _, err = finish(start(place, tmp_path, JAVA_HOME=str(tmp_path)))
    assert err.count('\n') == 1 and 'Apache Spark needs Java 17 or newer' in err
    assert list((tmp_path / 'folders').iterdir()) == []

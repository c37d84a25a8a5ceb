"""An archive is translated on Spark as cyclegan_tf.translate does it, whatever is killed meanwhile."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from cyclegan_tf.data import records
from cyclegan_tf.errors import UserError
from tests.helpers import program
from tests.helpers.served_models import make_run, photograph
from tests.helpers.spark_workers import workers

pytestmark = pytest.mark.spark

TOOL = program.ROOT / 'tools' / 'spark_translate.py'
IMAGES = 90
# The first are Java's, of a module that Spark's start script asks for, and those of TensorFlow 2.21 in workers.
OWN_LINES = ('WARNING: ', 'I0000 ', 'Translating: ', 'Skipped: ', 'tools/spark_translate.py: ')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with checkpoints/run, 90 images in two folders and one bad one; and in `expected` their translations."""
    place = tmp_path_factory.mktemp('spark')
    make_run(place / 'checkpoints')
    (place / 'in' / 'sub').mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        image = np.roll(photograph(32, 32 + 8 * (number % 20 == 0)), random.integers(32), axis=1)
        Image.fromarray(image).save(place / 'in' / ('sub' if number % 3 else '') / f'{number:02}.png')
    (place / 'in' / 'bad.jpg').write_bytes(b'no image')
    with pytest.raises(UserError, match='1 image could not be translated'):
        program.run_translation(
            place / 'checkpoints', '--name=run', f'--input={place / "in"}', f'--output={place / "expected"}'
        )
    return place


def start(place, output, *flags, master='local[2]', **variables):
    arguments = [
        '--name=run',
        '--checkpoints_dir=checkpoints',
        '--input=in',
        f'--output={output}',
        f'--master={master}',
    ]
    return subprocess.Popen(
        [sys.executable, TOOL, *arguments, *flags],
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


def pictures(folder):
    return {path.relative_to(folder).as_posix(): path for path in pathlib.Path(folder).rglob('*.png')}


def require_close(folder, expected):
    """Batches of other images round otherwise: a level, at most."""
    found, wanted = pictures(folder), pictures(expected)
    assert found.keys() == wanted.keys()
    for name, path in found.items():
        ours, theirs = (np.asarray(Image.open(one), int) for one in (path, wanted[name]))
        assert np.abs(ours - theirs).max() <= 1, name


def test_the_same_files_and_a_line_for_the_bad_one(place, tmp_path):
    out, err = finish(start(place, tmp_path / 'out', '--partitions=1'))
    assert {name: path.read_bytes() for name, path in pictures(tmp_path / 'out').items()} == {
        name: path.read_bytes() for name, path in pictures(place / 'expected').items()
    }
    bad = str(place / 'in' / 'bad.jpg')
    assert f'{IMAGES + 1} images in 1 part.\nWrote {IMAGES} pictures to {tmp_path / "out"}; 1 image could not be' in out
    assert f'Skipped: {bad}: it is not an image of a known format\n' in err
    assert all(line.startswith(OWN_LINES) for line in err.splitlines()), err
    assert err.endswith(f'see {tmp_path / "out" / "failures.jsonl"}; all others were.\n')
    (line,) = (tmp_path / 'out' / 'failures.jsonl').read_text().splitlines()
    assert json.loads(line) == {'path': bad, 'reason': f'{bad}: it is not an image of a known format'}
    out, _ = finish(start(place, tmp_path / 'out', '--partitions=3'))
    assert f'Wrote 0 pictures to {tmp_path / "out"}; {IMAGES} were there already; 1 image could not' in out


def wait_for_pictures(folder, number, process):
    ends = time.monotonic() + 120
    while len(pictures(folder)) < number and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


def test_killed_workers_and_a_killed_program(place, tmp_path):
    output = tmp_path / 'out'
    process = start(place, output, '--partitions=10', '--batch_size=1')
    wait_for_pictures(output, 10, process)
    workers(process)[0].kill()
    wait_for_pictures(output, 30, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(below, timeout=30)
    assert not any(one.is_running() for one in below)  # nothing is left that would go on writing
    written = len(pictures(output))
    assert 30 <= written < IMAGES
    for path in pictures(output).values():
        Image.open(path).load()
    process = start(place, output, '--partitions=10', '--batch_size=1')
    wait_for_pictures(output, written + 5, process)
    workers(process)[0].kill()
    out, err = finish(process)
    assert '1 part failed and was repeated.' in err and 'were there already; 1 image could not' in out
    require_close(output, place / 'expected')
    assert [path.name for path in output.glob('.*')] == ['.translation.json']


@pytest.mark.parametrize('file_format', ['array_record', 'tfrecord'])
def test_records_are_taken_over_after_a_kill(place, tmp_path, file_format):
    flags = ['--output_format=records', '--dataset_name=night', '--split=trainB', '--partitions=5', '--batch_size=1',
             f'--file_format={file_format}']  # fmt: skip
    process = start(place, tmp_path / 'out', *flags)
    shards = tmp_path / 'out' / 'night'
    ends = time.monotonic() + 120
    while not list(shards.glob(f'incomplete.*/night-*.{file_format}*')) and time.monotonic() < ends:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    (first,) = list(shards.glob(f'incomplete.*/night-*.{file_format}*'))[:1]
    stamp = first.stat().st_mtime_ns
    time.sleep(1)
    out, _ = finish(start(place, tmp_path / 'out', *flags))
    assert 'were there already' in out
    assert (shards / '1.0.0' / first.name).stat().st_mtime_ns == stamp and [one.name for one in shards.iterdir()] == [
        '1.0.0'
    ]
    assert not list((shards / '1.0.0').glob('.*'))
    source = records.open_directory(str(shards / '1.0.0')).open('trainB')
    expected = pictures(place / 'expected')
    assert [f'{name}.png' for name in source.names] == sorted(expected)
    for index, name in enumerate(source.names):
        picture = np.asarray(source.picture(index), int)
        assert np.abs(picture - np.asarray(Image.open(expected[f'{name}.png']), int)).max() <= 1
    _, err = finish(start(place, tmp_path / 'out', *flags))
    assert 'holds night/1.0.0 already; set another --dataset_name or --output.' in err


def test_an_object_store(place, tmp_path, monkeypatch):
    """A server of S3's protocol on this machine, and a real client."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {'AWS_ACCESS_KEY_ID': 'x', 'AWS_SECRET_ACCESS_KEY': 'y', 'AWS_DEFAULT_REGION': 'us-east-1',
                'AWS_ENDPOINT_URL': f'http://{host}:{port}'}  # fmt: skip
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        store = s3fs.S3FileSystem(endpoint_url=keys['AWS_ENDPOINT_URL'])
        store.mkdir('bucket')
        store.put(str(place / 'in'), 'bucket/in', recursive=True)
        flags = ['--input=s3://bucket/in', '--output=s3://bucket/out', '--partitions=4']
        out, err = finish(start(place, 'unused', *flags, **keys))
        assert 'Skipped: s3://bucket/in/bad.jpg: it is not an image' in err
        store.invalidate_cache()
        store.get('bucket/out', str(tmp_path / 'out'), recursive=True)
        require_close(tmp_path / 'out', place / 'expected')
        assert json.loads((tmp_path / 'out' / 'failures.jsonl').read_text())['path'] == 's3://bucket/in/bad.jpg'
        out, _ = finish(start(place, 'unused', *flags, **keys))
        assert f'Wrote 0 pictures to s3://bucket/out; {IMAGES} were there already' in out
    finally:
        server.stop()


def test_spark_submit(place, tmp_path):
    import pyspark

    submit = pathlib.Path(pyspark.__file__).parent / 'bin' / 'spark-submit'
    done = subprocess.run(
        [submit, '--master', 'local[2,4]', TOOL, '--name=run', '--checkpoints_dir=checkpoints', '--input=in',
         f'--output={tmp_path / "out"}'],
        cwd=place, env={**os.environ, 'PYSPARK_PYTHON': sys.executable}, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1 and f'Wrote {IMAGES} pictures' in done.stdout, done.stderr
    require_close(tmp_path / 'out', place / 'expected')


def test_java_that_dies_is_a_sentence(place, tmp_path):
    process = start(place, tmp_path / 'out', '--partitions=10', '--batch_size=1')
    wait_for_pictures(tmp_path / 'out', 5, process)
    (java,) = [one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == 'java']
    java.kill()
    _, err = finish(process)
    (said,) = [line for line in err.splitlines() if not line.startswith(OWN_LINES[:3])]
    assert "Translating was given up: Spark's Java has ended (" in said and 'give it more memory' in said


def test_stopped_by_a_signal(place, tmp_path):
    process = start(place, tmp_path / 'out', '--partitions=10', '--batch_size=1')
    wait_for_pictures(tmp_path / 'out', 5, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and all(line.startswith(OWN_LINES[:3]) for line in err.splitlines()), err
    psutil.wait_procs(below, timeout=30)
    assert not any(one.is_running() for one in below)


@pytest.mark.parametrize(
    'flags, complaint',
    [
        (['--epoch=7'], 'has no checkpoint for `epoch` (7)'),
        (['--input=nothing'], 'is not a file or folder'),
        (['--max_pixels=10'], '`max_pixels` (10) is too small'),
    ],
)
def test_what_the_user_can_correct(place, tmp_path, flags, complaint):
    out, err = finish(start(place, tmp_path / 'out', *flags))
    (said,) = [line for line in err.splitlines() if not line.startswith(OWN_LINES[:3])]
    assert complaint in said


def test_java_that_is_missing(place, tmp_path):
    _, err = finish(start(place, tmp_path / 'out', JAVA_HOME=str(tmp_path)))
    assert err.count('\n') == 1 and 'Apache Spark needs Java 17 or newer' in err

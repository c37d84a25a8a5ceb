"""Records that worker processes of Apache Spark write are those of tools/prepare_records.py, whoever dies meanwhile."""

import contextlib
import os
import pathlib
import re
import signal
import threading
import time

import imagecodecs
import numpy as np
import prepare_records
import pytest
import record_files
import spark_prepare
import tifffile
from PIL import Image

from cyclegan_tf.data import sources
from cyclegan_tf.distribution import spark
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.records import SparkRecordsConfig
from tests.helpers import program

pytestmark = pytest.mark.spark

TOOL = pathlib.Path(spark_prepare.__file__)


@pytest.fixture(scope='module')
def cluster():
    with spark.Cluster(SparkRecordsConfig(dataroot='in', output='out', master='local[2]'), 'test') as cluster:
        yield cluster


@pytest.fixture
def photos(image_folders):
    """image_folders with images in trainA that are stored as PNG, deep ones, and more folders for all modes."""
    folder = image_folders / 'trainA'
    picture = Image.open(folder / '0.png')
    deep = np.asarray(picture).astype(np.uint16) * 256 + 7
    turned = Image.Exif()
    turned[0x0112] = 6  # by a quarter
    (folder / 'sub').mkdir()
    picture.save(folder / 'sub' / 'turned é.JPG', quality=90, exif=turned)
    (folder / 'deep.png').write_bytes(imagecodecs.png_encode(deep))
    tifffile.imwrite(folder / 'deep.tif', deep[..., 0], extratags=[(0x0112, 3, 1, 3)])
    picture.convert('LA').save(folder / 'alpha.webp', lossless=True)
    picture.convert('L').save(folder / 'gray.bmp')
    (folder / 'list.txt').touch()  # which is passed over, as is noted
    for other in ('trainA2', 'train', 'val'):
        (image_folders / other).mkdir()
        for name in ('0.png', 'deep.tif'):
            (image_folders / other / name).write_bytes((folder / name).read_bytes())
    return image_folders


@pytest.fixture
def here(tmp_path, photos):
    """(flags) -> the folder of records that tools/prepare_records.py writes, each time anew."""

    def run(*flags):
        flags = [f'--dataroot={photos}', f'--output={tmp_path}/here', f'--cache_dir={tmp_path}/cache_here', *flags]
        assert prepare_records.main(prepare_records.parse(['prepare', *flags])) == 0
        return tmp_path / 'here'

    return run


@pytest.fixture
def config(tmp_path, photos):
    """(flags) -> settings of tools/spark_prepare.py."""

    def parse(*flags):
        flags = [f'--dataroot={photos}', f'--output={tmp_path}/spark', f'--cache_dir={tmp_path}/cache_spark', *flags]
        return spark_prepare.parse(['prepare', *flags])

    return parse


@pytest.fixture
def on_spark(cluster, config):
    """(flags) -> the folder of records that the cluster writes."""

    def run(*flags):
        settings = config(*flags)
        record_files.store(settings, lambda: contextlib.nullcontext(spark_prepare.SparkWorkers(cluster, 2)))
        return pathlib.Path(settings.output)

    return run


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def assert_same(found, expected):
    found, expected = contents(found), contents(expected)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize(
    'file_format, mode, shards, files',
    [
        ('array_record', 'unaligned', [], 4),
        ('tfrecord', 'unaligned', [], 4),
        ('array_record', 'unaligned', ['--num_shards=3'], 3 + 3 + 2 + 2),
        ('tfrecord', 'unaligned', ['--num_shards=3'], 3 + 3 + 2 + 2),
        ('array_record', 'aligned', ['--num_shards=3'], 2 + 2),
        ('tfrecord', 'paired', ['--num_shards=3'], 3 + 3 + 2 + 2 + 2),
    ],
)
def test_files_metadata_and_lines_are_those_of_one_machine(here, on_spark, capsys, file_format, mode, shards, files):
    flags = [f'--file_format={file_format}', f'--dataset_mode={mode}', *shards]
    expected, of_here = here(*flags), capsys.readouterr().out
    found, of_spark = on_spark(*flags), capsys.readouterr().out
    assert_same(found, expected)
    assert len(list(found.rglob('*-of-0000*'))) == files
    assert of_spark == of_here.replace(str(expected), str(found))
    assert ('1 .txt' in of_here) == (mode != 'aligned')


def test_bad_images_are_listed_or_left_aside(photos, here, on_spark, capsys):
    cut = photos / 'trainA' / '1.png'
    cut.write_bytes(cut.read_bytes()[:900])
    (photos / 'trainB' / 'gone.png').symlink_to('nowhere')
    Image.new('RGB', (60, 60)).save(photos / 'trainB' / 'large.png')
    five = np.zeros((40, 48, 5), np.uint8)
    tifffile.imwrite(photos / 'testB' / 'five.tif', five, planarconfig='contig', photometric='minisblack')
    flags = ['--max_image_pixels=2000']
    with pytest.raises(UserError) as of_here:
        here(*flags)
    capsys.readouterr()
    with pytest.raises(UserError) as of_spark:
        on_spark(*flags)
    assert str(of_spark.value) == str(of_here.value)
    listed = r'^4 of 22 .*1\.png: .*gone\.png: .*large\.png: .*five\.tif: it has 5 channels'
    assert re.search(listed, str(of_spark.value), re.DOTALL)
    assert not contents(photos.parent / 'spark')
    capsys.readouterr()
    expected, lines = here(*flags, '--on_bad_image=skip'), capsys.readouterr().out
    found = on_spark(*flags, '--on_bad_image=skip')
    assert_same(found, expected)
    assert capsys.readouterr().out == lines.replace(str(expected), str(found)) and lines.count('Skipped: ') == 4


def test_what_was_looked_at_is_remembered_and_what_is_there_is_never_overwritten(photos, on_spark, monkeypatch):
    done, run = [], spark.Cluster.run

    def noting(self, work, items, parts, what, *rest, **named):
        done.append((what, len(items)))
        return run(self, work, items, parts, what, *rest, **named)

    monkeypatch.setattr(spark.Cluster, 'run', noting)
    on_spark('--name=first')
    assert [what.split()[0] for what, _ in done] == ['Checking'] * 4 + ['Writing']
    on_spark('--name=second')
    assert done[5:] == [('Writing', 4)]
    with pytest.raises(UserError, match='holds second/1.0.0 already; set another --name or --output'):
        on_spark('--name=second')
    (photos / 'trainA' / '2.png').write_bytes(b'')
    with pytest.raises(UserError, match=r'^1 of 19 images .*\n  /.*trainA/2\.png: [^\n]*$'):
        on_spark('--name=third')
    assert done[6:] == [(f'Checking {photos}/trainA', 1)]


def test_an_image_that_vanishes_is_named_and_nothing_looks_complete(tmp_path, photos, cluster, config, on_spark):
    workers, settings = spark_prepare.SparkWorkers(cluster, 2), config('--num_shards=5')
    splits = record_files.leave_aside(settings, record_files.open_splits(settings), workers, None)
    (photos / 'trainB' / '4.png').rename(tmp_path / 'away')  # after it was looked at
    with pytest.raises(UserError, match=r'^/.*trainB/4\.png cannot be used: the file does not exist'):
        record_files.write(settings, splits, workers)
    assert [path.name.split('.')[0] for path in (tmp_path / 'spark' / 'data').iterdir()] == ['incomplete']
    with pytest.raises(UserError, match='has no folder trainA|is not a folder'):
        sources.open_domains(str(tmp_path / 'spark'), 'train')


@pytest.fixture
def slow(photos):
    """Images in trainB whose compression takes a while."""
    noise = np.random.default_rng(0).integers(0, 65536, (1200, 1200, 3), np.uint16)
    for i in range(12):
        tifffile.imwrite(photos / 'trainB' / f'noise_{i:02}.tif', noise + np.uint16(i))
    return photos


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_a_shard_whose_worker_is_killed_is_written_again(tmp_path, slow, here, on_spark, cluster):
    flags, killed, before = ['--num_shards=6', '--file_format=tfrecord'], [], cluster.repeated

    def kill_one():
        part = wait_for(lambda: next((tmp_path / 'spark').rglob('.*.part'), None))
        killed.append(int(part.name.split('-')[-2]))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    found = on_spark(*flags)
    killer.join()
    assert killed and killed[0] != os.getpid() and cluster.repeated > before
    assert_same(found, here(*flags))


def test_a_program_that_was_killed_goes_on_with_the_files_that_are_complete(tmp_path, slow, here):
    flags = ['--num_shards=12', f'--output={tmp_path}/spark', f'--cache_dir={tmp_path}/cache', '--master=local[2]']
    arguments = [TOOL, f'--dataroot={slow}', *flags]
    paths = os.pathsep.join([str(program.ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])

    def shards():
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'spark').rglob('*trainB*-of-00012')}

    process = program.start_python(*arguments, real=True, PYTHONPATH=paths)
    wait_for(lambda: process.poll() is not None or len(shards()) >= 2)
    process.kill()
    program.finish(process)
    assert process.returncode == -signal.SIGKILL
    (incomplete,) = (tmp_path / 'spark' / 'data').iterdir()
    written = [-1]
    # Its workers may finish what they had begun.
    wait_for(lambda: written.append(len(list(incomplete.iterdir()))) or time.sleep(3) or written[-1] == written[-2])
    kept = shards()
    assert 2 <= len(kept) < 12

    status, output, error = program.finish(program.start_python(*arguments, real=True, PYTHONPATH=paths))
    assert status == 0, error
    there = re.search(r'^(\d+) of \d+ files are there already, from a run that was stopped\.$', output, re.MULTILINE)
    assert int(there[1]) >= len(kept), output
    assert {name: stamp for name, stamp in shards().items() if name in kept} == kept
    assert_same(tmp_path / 'spark', here('--num_shards=12'))

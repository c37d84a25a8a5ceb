"""A part of an archive is translated as cyclegan_tf.translate does it, and what is there already is left out."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import time

import fsspec
import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import storage
from cyclegan_tf.settings.archive import ArchiveConfig
from cyclegan_tf.translation import archive, archive_records
from tests.helpers import program
from tests.helpers.served_models import make_run, photograph, run_export

ABOUT = '.translation.json'  # what the results are of


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with checkpoints/run, and images of several kinds in `in`, one of them bad."""
    place = tmp_path_factory.mktemp('archive')
    make_run(place / 'checkpoints')
    (place / 'in' / 'sub' / '.hidden').mkdir(parents=True)
    for number, name in enumerate(['a.png', 'a.jpg', 'b.png', 'c.png', 'sub/a.jpg', 'sub/.hidden/x.png']):
        Image.fromarray(photograph(32, 40 + 8 * (number > 2))).save(place / 'in' / name)
    deep = np.random.default_rng(0).integers(0, 2**16, (33, 35), np.uint16)
    Image.fromarray(deep).save(place / 'in' / 'deep.png')
    (place / 'in' / 'bad.jpg').write_bytes(b'no image')
    return place


def settings_of(place, output, **given):
    given = {'name': 'run', 'input': str(place / 'in'), **given}
    return ArchiveConfig(checkpoints_dir=str(place / 'checkpoints'), output=str(output), **given)


def translated(settings):
    items = archive.find(settings.input, settings.output, archive.takes_arrays(settings))
    return list(archive.translate_part(settings, 0, items))


def contents(folder):
    paths = sorted(path for path in pathlib.Path(folder).rglob('*') if path.is_file() and path.name != ABOUT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope='module')
def expected(place):
    """What cyclegan_tf.translate writes: names to bytes."""
    with pytest.raises(UserError, match='1 image could not be translated'):
        program.run_translation(
            place / 'checkpoints', '--name=run', f'--input={place / "in"}', f'--output={place / "out"}'
        )
    return contents(place / 'out')


# ------------------------------------------------------------------------------------------------------------ planning
def test_names_are_those_of_the_translation(place, tmp_path, expected):
    items = archive.find(str(place / 'in'), str(tmp_path))
    stems = {item.stem for item in items}
    assert {f'{stem}.png' for stem in stems} - {'bad.png'} == set(expected) and 'a_jpg' in stems and 'sub/a' in stems
    assert [item.path for item in items] == sorted(item.path for item in items)


@pytest.mark.parametrize(
    'pattern, found',
    [
        ('in/**.png', ['a', 'b', 'c', 'deep']),
        ('in/**/*.png', ['a', 'b', 'c', 'deep']),
        ('in/*.jpg', ['a', 'bad']),
        ('in/**.jpg', ['a', 'bad', 'sub/a']),
        ('in/sub/a.jpg', ['a']),
        ('in/[bc].*', ['b', 'c']),
        ('in/sub/.hidden/*.png', ['x']),
    ],
)
def test_patterns(place, tmp_path, monkeypatch, pattern, found):
    monkeypatch.chdir(place)
    for spelled in (pattern, str(place / pattern), f'file://{place / pattern}'):
        items = archive.find(spelled, str(tmp_path))
        assert [item.stem for item in items] == found
        assert storage.read(items[0].path)


def test_names_of_a_pattern_do_not_depend_on_what_else_there_is(tmp_path):
    (tmp_path / 'in' / 'a').mkdir(parents=True)
    (tmp_path / 'in' / 'a' / 'x.jpg').touch()
    for _ in range(2):
        items = archive.find(str(tmp_path / 'in' / '**.jpg'), str(tmp_path / 'out'))
        assert (f'{tmp_path}/in/a/x.jpg', 'a/x') in [(item.path, item.stem) for item in items]
        (tmp_path / 'in' / 'x.jpg').touch()


def test_a_pattern_is_the_same_for_the_translation(place, expected, tmp_path):
    flags = ['--name=run', f'--input={place / "in" / "**.jpg"}', f'--output={tmp_path}']
    with pytest.raises(UserError, match='1 image could not be translated'):
        program.run_translation(place / 'checkpoints', *flags)
    assert sorted(contents(tmp_path)) == ['a.png', 'sub/a.png']


def test_a_pattern_takes_time_in_proportion_to_its_files(tmp_path):
    for number in range(3000):
        (tmp_path / f'{number}.jpg').touch()
    start = time.process_time()
    assert len(archive.find(str(tmp_path / '*.jpg'), str(tmp_path / 'out'))) == 3000
    assert time.process_time() - start < 1.5  # it took 4 s where each file was compared with all


def test_places_are_kept_as_they_are_spelled(place, tmp_path):
    for spelled in (f'file://{place}/in', f'{place}/in/'):
        assert all(item.path.startswith(spelled.rstrip('/')) for item in archive.find(spelled, str(tmp_path)))
    with pytest.raises(UserError, match='is the folder of the images themselves'):
        archive.find(str(place / 'in'), f'file://{place}/in')


def test_results_within_the_images_are_left_out(place):
    inner = archive.find(str(place), str(place / 'in' / 'sub'))
    assert not [item for item in inner if '/in/sub/' in item.path] and len(inner) >= 6
    with pytest.raises(UserError, match='contains only images that were written to `output`'):
        archive.find(str(place / 'in' / 'sub'), str(place / 'in'))
    with pytest.raises(UserError, match='is the folder of the images themselves'):
        archive.find(str(place / 'in'), f'{place}/in/')


@pytest.mark.parametrize(
    'asked, complaint',
    [
        ('nothing', 'is not a file or folder, and matches no image'),
        ('checkpoints', r'holds no images \(\d'),
        ('nowhere://bucket', r'cannot be opened \(Protocol not known'),
        ('s3://bucket/in', r'cannot be opened \(Install s3fs'),
    ],
)
def test_places_without_images(place, tmp_path, monkeypatch, asked, complaint):
    monkeypatch.setitem(sys.modules, 's3fs', None)
    with pytest.raises(UserError, match=f'`input` .*{complaint}'):
        archive.find(asked if '://' in asked else str(place / asked), str(tmp_path))


def test_planning_needs_no_tensorflow(place, tmp_path):
    code = (
        'import sys\n'
        'from cyclegan_tf.distribution import spark\n'
        'from cyclegan_tf.settings.archive import ArchiveConfig\n'
        'from cyclegan_tf.translation import archive\n'
        f'runs = {str(place / "checkpoints")!r}\n'
        'settings = ArchiveConfig(name="run", checkpoints_dir=runs, input="in", output="o")\n'
        f'print(len(archive.find({str(place / "in")!r}, {str(tmp_path)!r}, archive.takes_arrays(settings))))\n'
        'assert "tensorflow" not in sys.modules'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=program.ROOT)
    assert (done.returncode, done.stdout) == (0, '7\n'), done.stderr


def test_shards_have_every_image_once():
    items = [archive.Item(f'{i}.png', str(i), str(i)) for i in range(1000)]
    shards = [archive.in_shard(items, number, 7) for number in range(7)]
    assert sorted(sum(shards, []), key=items.index) == items
    assert all(100 < len(shard) < 190 for shard in shards)
    # Whatever comes in between.
    again = archive.in_shard([archive.Item('new.png', 'new', 'new'), *items], 3, 7)
    assert [item for item in again if item.name != 'new'] == shards[3]


@pytest.mark.parametrize(
    'given, complaint',
    [
        ({'direction': 'BtoA', 'name': 'one'}, r"`direction` \('BtoA'\) is not one of: AtoB"),
        ({'name': 'stacked'}, r'`input_folders` \(A,A2\) of this run stacks'),
        ({'name': 'gone'}, 'flags.cfg.* does not exist'),
        ({'name': '', 'model_dir': '/gone'}, r"`model_dir` \('/gone'\) is no folder"),
    ],
)
def test_models_that_do_not_fit_are_refused_before_the_work(place, tmp_path, given, complaint):
    for name, more in {
        'one': {'model': 'cut'},
        'stacked': {'model': 'pix2pix', 'dataset_mode': 'paired', 'input_folders': 'A,A2', 'input_nc': 6},
    }.items():
        if not (place / 'checkpoints' / name).exists():
            make_run(place / 'checkpoints', name, netG='resnet_6blocks', ngf=2, ndf=2, **more)
    with pytest.raises(UserError, match=complaint):
        archive.takes_arrays(settings_of(place, tmp_path, **given))


# ----------------------------------------------------------------------------------------------------------- one part
def test_files_are_those_of_the_translation_and_are_left_out_the_second_time(place, expected, tmp_path):
    settings = settings_of(place, tmp_path / 'out')
    records = translated(settings)
    assert contents(settings.output) == expected
    assert [(pathlib.Path(one.path).name, one.outcome) for one in records if one.outcome != 'done'] == [
        ('bad.jpg', 'failed')
    ]
    (bad,) = (one for one in records if one.reason)
    assert bad.reason == f'{place / "in" / "bad.jpg"}: it is not an image of a known format' and bad.pixels == 0
    assert sum(one.pixels for one in records) == 3 * 32 * 40 + 2 * 32 * 48 + 33 * 35
    assert all(one.seconds > 0 for one in records)
    # A result that is missing is made again, the others are not touched.
    lost, kept = (pathlib.Path(settings.output) / name for name in ('b.png', 'c.png'))
    lost.unlink()
    before = os.stat(kept)
    outcomes = {pathlib.Path(one.path).name: one.outcome for one in translated(settings)}
    assert outcomes.pop('b.png') == 'done' and outcomes.pop('bad.jpg') == 'failed'
    assert set(outcomes.values()) == {'already there'}
    assert contents(settings.output) == expected and os.stat(kept) == before


def test_images_and_results_may_be_elsewhere(place, expected):
    memory = fsspec.filesystem('memory')
    memory.rm('/', recursive=True) if memory.ls('/') else None
    for name, data in contents(place / 'in').items():
        memory.pipe_file(f'/bucket/in/{name}', data)
    settings = settings_of(place, 'memory://bucket/out', input='memory://bucket/in')
    for outcome in ('done', 'already there'):
        records = translated(settings)
        assert [one.outcome for one in records].count(outcome) == len(expected)
        assert [one.reason for one in records if one.reason] == [
            'memory://bucket/in/bad.jpg: it is not an image of a known format'
        ]
        found = [path for path in memory.find('/bucket/out') if '/.' not in path]
        assert {path.removeprefix('/bucket/out/'): memory.cat_file(path) for path in found} == expected
    (failed,) = [one for one in records if one.reason]
    archive.write_failures(storage.Folder('output', settings.output), [failed])
    assert b'{"path": "memory://bucket/in/bad.jpg", "reason": ' in memory.cat_file('/bucket/out/failures.jsonl')


def test_a_name_that_cannot_be_is_one_images_problem(place, tmp_path):
    settings = settings_of(place, tmp_path)
    (tmp_path / 'b.png' / 'in the way').mkdir(parents=True)
    (reason,) = [one.reason for one in translated(settings) if one.reason and 'bad.jpg' not in one.path]
    assert reason == f"{place / 'in' / 'b.png'}: '{tmp_path / 'b.png'}' cannot be written (Is a directory)"


def test_results_appear_whole_and_leave_nothing_beside_them(place, tmp_path, monkeypatch):
    settings, seen = settings_of(place, tmp_path), []
    put = storage.Folder.put

    def look(folder, path, name):
        seen.append(([one.name for one in tmp_path.iterdir()], Image.open(path).load() is not None))
        put(folder, path, name)

    monkeypatch.setattr(storage.Folder, 'put', look)
    translated(settings)
    assert len(seen) == 6 and all(whole for _, whole in seen) and all('.unfinished' in names for names, _ in seen)
    assert not (tmp_path / '.unfinished').exists()


def test_an_image_too_large_for_an_exported_model_is_told_and_the_others_are_done(place, expected, tmp_path):
    assert run_export(place / 'checkpoints', tmp_path / 'exported', '--name=run', '--direction=AtoB',
                      '--max_pixels=1300') == 0  # fmt: skip
    settings = settings_of(place, tmp_path / 'out', name='', model_dir=str(tmp_path / 'exported'))
    outcomes = {os.path.relpath(one.path, place / 'in'): one for one in translated(settings)}
    assert {name for name, one in outcomes.items() if one.outcome == 'failed'} == {'bad.jpg', 'c.png', 'sub/a.jpg'}
    reason = outcomes['c.png'].reason
    assert reason.startswith(f'{place / "in" / "c.png"}: ') and 'at most 1,300' in reason
    for name in ('a_png', 'a_jpg', 'b', 'deep'):
        ours, theirs = (
            np.asarray(Image.open(folder / f'{name}.png'), int) for folder in (place / 'out', tmp_path / 'out')
        )
        assert np.abs(ours - theirs).max() <= (257 if name == 'deep' else 1)


def test_sentences_about_a_run():
    counts = {'done': 1, 'already there': 2, 'failed': 3, 'pixels': 2_500_000}
    said = 'Wrote 1 picture to out; 2 were there already; 3 images could not be translated.'
    assert archive.in_words(counts, 'out', 10.2) == f'{said} 2.5 million pixels in 10 s.'
    assert archive.in_words({'done': 0}, 'out', 1) == 'Wrote 0 pictures to out.'


def test_the_direction_is_the_runs_first_unless_it_is_given(place, tmp_path):
    assert archive.direction_of(settings_of(place, tmp_path)) == 'AtoB'
    assert archive.direction_of(settings_of(place, tmp_path, direction='BtoA')) == 'BtoA'
    assert archive.direction_of(settings_of(place, tmp_path, name='', model_dir='exported')) is None


def test_results_of_something_else_are_not_taken_for_done(place, tmp_path):
    folder = storage.Folder('output', str(tmp_path))
    archive.claim(folder, settings_of(place, tmp_path), 'AtoB')
    archive.claim(folder, settings_of(place, tmp_path, num_threads=5, batch_size=3), 'AtoB')
    for settings, direction, other in (
        (settings_of(place, tmp_path), 'BtoA', 'direction'),
        (settings_of(place, tmp_path, resize='20x20'), 'AtoB', 'resize'),
        (settings_of(place, tmp_path, epoch='7'), 'AtoB', 'model'),
        (settings_of(place, tmp_path, precision='bfloat16'), 'AtoB', 'precision'),
    ):
        with pytest.raises(UserError, match=f'has results of another {other} .* set it to another folder'):
            archive.claim(folder, settings, direction)
    # A run that was trained further under its name.
    kept = place / 'checkpoints' / 'run' / 'latest' / 'checkpoint'
    before = kept.read_text()
    try:
        kept.write_text(before.replace('step-0', 'step-9'))
        with pytest.raises(UserError, match=r'another model \(run latest step-0, not run latest step-9\)'):
            archive.claim(folder, settings_of(place, tmp_path), 'AtoB')
    finally:
        kept.write_text(before)


# -------------------------------------------------------------------------------------------------------------- shards
def test_all_shards_together_are_the_translation(place, expected, tmp_path, capsys):
    flags = ['--name=run', f'--input={place / "in"}', f'--output={tmp_path}']
    statuses = []
    for number in range(3):
        try:
            statuses.append(program.run_translation(place / 'checkpoints', *flags, f'--shard={number}/3'))
        except UserError as error:
            statuses.append(str(error))
    assert contents(tmp_path) == expected
    assert sorted(map(str, statuses)) == ['0', '0', '1 image could not be translated, see above; all others were.']
    printed = capsys.readouterr()
    assert 'bad.jpg: it is not an image' in printed.err and 'Shard 1/3: Wrote ' in printed.out
    program.run_translation(place / 'checkpoints', *flags, '--shard=0/1', '--num_test=2')
    assert 'Shard 0/1: Wrote 0 pictures' in (said := capsys.readouterr().out) and '2 were there already' in said


def test_shards_of_both_directions_have_a_folder_each(place, tmp_path):
    flags = ['--name=run', f'--input={place / "in" / "b.png"}', f'--output={tmp_path}', '--direction=both']
    assert program.run_translation(place / 'checkpoints', *flags, '--shard=0/1') == 0
    assert list(contents(tmp_path)) == ['AtoB/b.png', 'BtoA/b.png']


@pytest.mark.parametrize('shard', ['3', '3/3', '0/0', '-1/2', 'a/b'])
def test_what_is_no_shard(shard):
    with pytest.raises(UserError, match=r'`shard` \(.*\) is not NUMBER/SHARDS, counted from 0'):
        program.run_translation('nowhere', '--name=run', '--input=in', f'--shard={shard}')
    for flags, complaint in (
        ([], 'divides the images of `input`, which is not set'),
        (['--input=in'], 'needs a folder of its own as `output`'),
    ):
        with pytest.raises(UserError, match=complaint):
            program.run_translation('nowhere', '--name=run', '--shard=0/2', *flags)


@pytest.mark.parametrize(
    'given, complaint',
    [
        ({'input': ''}, '`input` .* is required'),
        ({'model_dir': 'x'}, 'set exactly one of them'),
        ({'name': ''}, 'set exactly one of them'),
        ({'name': '', 'model_dir': 'x', 'direction': 'AtoB'}, 'an exported model has its own: leave it out'),
        ({'output_format': 'records', 'picture_format': 'tiff'}, 'stores PNGs'),
        ({'output_format': 'records', 'split': 'a b'}, '`split` .* is not made of letters'),
        ({'output_format': 'records', 'dataset_name': 'Foo'}, '`dataset_name` .* is not made of a-z'),
        ({'name': '', 'model_dir': 'x', 'epoch': '3'}, r'`epoch` \(3\) is for runs'),
        ({'master': 'local[2]', 'cores_per_worker': 4}, r'`cores_per_worker` \(4\) is more than `master`'),
        ({'master': 'local[0]'}, "`master` .* is none of Spark's"),
        ({'output_format': 'records', 'output': 's3://b/o'}, 'has to be a path for records'),
        ({'master': 'here'}, "`master` .* is none of Spark's"),
        ({'resize': '10'}, "is not 'WIDTHxHEIGHT'"),
        ({'partitions': 0}, '`partitions`'),
    ],
)
def test_settings_that_cannot_be(given, complaint):
    with pytest.raises(UserError, match=complaint):
        ArchiveConfig(**{'name': 'run', 'input': 'in', 'output': 'out', **given})
    assert dataclasses.asdict(ArchiveConfig(name='run', input='in', output='out'))['partitions'] is None


def test_records_have_a_name_and_a_folder_of_their_own(tmp_path):
    def target(name):
        chosen = dict(name='run', input='in', output=str(tmp_path), output_format='records', dataset_name=name)
        return archive_records.target(ArchiveConfig(**chosen))

    assert target('ours') == str(tmp_path / 'ours' / '1.0.0')
    (tmp_path / 'ours' / '1.0.0').mkdir(parents=True)
    with pytest.raises(UserError, match='holds ours/1.0.0 already; set another --dataset_name or --output'):
        target('ours')
    taken = "`dataset_name` .'mnist'. is that of a data set of TensorFlow Datasets; set --dataset_name to another"
    with pytest.raises(UserError, match=taken):
        target('mnist')

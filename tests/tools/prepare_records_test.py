"""Folders become records with the same images, names and order, whole or not at all."""

import collections
import pathlib
import re
import shlex
import shutil
import tracemalloc

import imagecodecs
import numpy as np
import pytest
import tensorflow_datasets as tfds
import tifffile
from PIL import Image

from cyclegan_tf.data import decode, sources
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings import flags as settings_flags
from tests.helpers import program

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'

import prepare_records  # noqa: E402
import record_files  # noqa: E402

PNG = b'\x89PNG'


def parse(*flags):
    return settings_flags.parse(prepare_records.RecordsConfig, ['prepare', *map(str, flags)])


@pytest.fixture
def prepare(tmp_path, image_folders):
    """(flags) -> exit status of storing image_folders in tmp_path/records."""

    def run(*flags):
        where = (f'--dataroot={image_folders}', f'--output={tmp_path}/records', f'--cache_dir={tmp_path}/cache')
        return prepare_records.main(parse(*where, *flags))

    return run


@pytest.fixture
def all_formats(image_folders):
    """image_folders with one image of each kind in trainA; how many these are."""
    folder = image_folders / 'trainA'
    picture = Image.open(folder / '0.png')
    deep = np.asarray(picture).astype(np.uint16) * 256 + 7
    (folder / 'sub').mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # by a quarter
    picture.save(folder / 'sub' / 'turned é.JPG', quality=90, exif=turned)
    (folder / 'deep.png').write_bytes(imagecodecs.png_encode(deep))
    tifffile.imwrite(folder / 'deep.tif', deep[..., 0], extratags=[(0x0112, 3, 1, 3)])
    (folder / 'deep.ppm').write_bytes(b'P6 48 40 65535\n' + deep.astype('>u2').tobytes())
    picture.convert('LA').save(folder / 'alpha.webp', lossless=True)
    picture.convert('L').save(folder / 'gray.bmp')
    picture.save(folder / 'two.gif', save_all=True, append_images=[picture.rotate(180)])
    picture.save(folder / 'misnamed.png', 'WEBP')
    return len(list(folder.rglob('*.*')))


def assert_same_images(found, expected):
    assert found.names == expected.names
    for index, name in enumerate(expected.names):
        ours, theirs = (decode.to_array(source.picture(index)) for source in (found, expected))
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name, strict=True)


@pytest.mark.parametrize('file_format', ['array_record', 'tfrecord'])
def test_every_format_comes_back_with_its_pixels_name_and_place(
    tmp_path, image_folders, all_formats, prepare, file_format
):
    assert prepare(f'--file_format={file_format}', '--num_shards=3') == 0
    for root in (tmp_path / 'records', tmp_path / 'records' / 'data' / '1.0.0'):
        for phase in ('train', 'test'):
            pairs = zip(sources.open_domains(str(root), phase), sources.open_domains(str(image_folders), phase))
            for found, expected in pairs:
                assert_same_images(found, expected)
    found, expected = (sources.open_domains(str(root), 'train')[0] for root in (tmp_path / 'records', image_folders))
    assert len(found) == all_formats == 13
    if file_format == 'array_record':
        prepared = tfds.builder_from_directory(tmp_path / 'records' / 'data' / '1.0.0')
        stored = prepared.as_data_source('trainA', decoders={'image': tfds.decode.SkipDecoding()})
        paths = sorted(path for path in (image_folders / 'trainA').rglob('*.*'))
        names = [path.relative_to(image_folders / 'trainA').as_posix() for path in paths]
        assert [stored[index]['name'].decode() for index in range(all_formats)] == names
    assert len(list((tmp_path / 'records').rglob(f'*.{file_format}-*'))) == 3 + 3 + 2 + 2
    kinds = collections.Counter()
    for index in range(all_formats):
        stored, original = found.read(index), expected.read(index)
        assert stored == original or (stored.startswith(PNG) and not original.startswith((PNG, b'\xff\xd8')))
        kinds[stored == original] += 1
    assert kinds == {True: 7, False: 6}  # six PNGs and a JPEG; what TensorFlow does not decode, or not to one image


def test_several_files_hold_every_image_once(tmp_path, image_folders, prepare, capsys):
    shutil.copy(image_folders / 'trainA' / '1.png', image_folders / 'trainA' / 'again.png')  # the same image twice
    prepare('--num_shards=4')
    files = list((tmp_path / 'records').rglob('*trainA*'))
    assert len(files) == 4 and all(file.stat().st_size for file in files)
    (a, _) = sources.open_domains(str(tmp_path / 'records'), 'train')
    assert a.names == ('0', '1', '2', '3', '4', 'again')
    assert len(list((tmp_path / 'records').rglob('*testA*'))) == 2  # it has no more images
    assert re.search(r'trainA: 6 images, [\d.]+ MB, files: 4\n', capsys.readouterr().out)


def test_large_splits_become_several_files():
    header = decode.Header(10_000, 10_000, 3, 8, 'PNG')
    assert record_files.count_shards([header] * 8) == 3  # 2.4 GB
    assert record_files.count_shards([header]) == 1


@pytest.mark.slow
def test_records_are_read_with_the_flags_that_the_program_prints(tmp_path, image_folders):
    def run(tool, *flags):
        status, output, error = program.run_python(TOOLS / tool, f'--cache_dir={tmp_path}/cache', *flags, cwd=tmp_path)
        assert status == 0, error
        return output

    image_folders.rename(tmp_path / 'My Photos')
    lines = run('prepare_records.py', '--dataroot=My Photos', '--output=all records').splitlines()
    shutil.rmtree(tmp_path / 'My Photos')
    assert [line.split(':')[0] for line in lines[:-3]] == ['trainA', 'trainB', 'testA', 'testB'] * 2, lines
    assert lines[-2:] == [
        "  '--dataroot=all records/my_photos/1.0.0'",
        "  --dataroot=tfds:my_photos '--data_dir=all records'",
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != 'cache') == ['all records']
    assert [path.name for path in (tmp_path / 'all records').iterdir()] == ['my_photos']
    for line in lines[-2:]:
        text = run('check_dataset.py', '--load_size=36', '--crop_size=32', *shlex.split(line))
        assert 'trainB  5 images, 48x40, colour, 8 bit, PNG\n' in text
        assert 'testA   2 images' in text and 'All images can be used.' in text


def test_what_is_there_is_never_overwritten(tmp_path, image_folders, prepare):
    prepare()
    before = {path: path.read_bytes() for path in (tmp_path / 'records').rglob('*.*') if path.is_file()}
    (image_folders / 'trainA' / '0.png').unlink()
    with pytest.raises(
        UserError, match='`output` .*records.* holds data/1.0.0 already; set another --name or --output'
    ):
        prepare()
    assert {path: path.read_bytes() for path in before} == before
    assert prepare('--name=second') == 0


def test_broken_images_are_listed_before_anything_is_written_or_left_aside(tmp_path, image_folders, prepare, capsys):
    cut = image_folders / 'trainA' / '1.png'
    cut.write_bytes(cut.read_bytes()[:900])
    five = np.zeros((40, 48, 5), np.uint8)
    tifffile.imwrite(image_folders / 'testB' / 'five.tif', five, planarconfig='contig', photometric='minisblack')
    with pytest.raises(UserError, match=r'2 of 15 .*\n.*1\.png: .*truncated.*\n.*five\.tif: it has 5 channels'):
        prepare()
    assert not list((tmp_path / 'records').rglob('*'))
    assert prepare('--on_bad_image=skip') == 0
    assert len(re.findall('Skipped: .*(?:1.png|five.tif): ', capsys.readouterr().out)) == 2
    found = sources.open_domains(str(tmp_path / 'records'), 'train')[0]
    image_folders.joinpath('trainA', '1.png').unlink()
    assert_same_images(found, sources.open_domains(str(image_folders), 'train')[0])
    for path in (image_folders / 'testA').iterdir():
        path.write_bytes(b'')
    with pytest.raises(UserError, match='no image of .*testA.* can be used'):
        prepare('--on_bad_image=skip', '--name=other')


def test_bands_that_png_would_show_as_alpha_are_refused(image_folders, prepare):
    options = {'photometric': 'rgb', 'extrasamples': ['unspecified']}
    tifffile.imwrite(image_folders / 'trainA' / 'n.tif', np.zeros((8, 8, 4), np.uint8), **options)
    with pytest.raises(UserError, match='n.tif: it has 4 channels, none of them alpha; records hold gray and colour'):
        prepare()


def test_a_failure_while_writing_leaves_nothing_that_looks_complete(tmp_path, image_folders, prepare):
    config = parse(f'--dataroot={image_folders}', f'--output={tmp_path}/records', f'--cache_dir={tmp_path}/cache')
    threads = record_files.Threads(2)
    splits = record_files.leave_aside(config, record_files.open_splits(config), threads, None)
    (image_folders / 'trainB' / '4.png').rename(tmp_path / 'away')  # after it was looked at
    with pytest.raises(UserError, match=r'^/.*trainB/4\.png cannot be used: the file does not exist'):
        record_files.write(config, splits, threads)
    assert not list((tmp_path / 'records' / 'data').iterdir())
    (tmp_path / 'away').rename(image_folders / 'trainB' / '4.png')
    assert prepare() == 0


def test_what_a_killed_run_has_left_is_named(tmp_path, prepare, capsys):
    left = tmp_path / 'records' / 'data' / 'incomplete.ABC_1.0.0'
    left.mkdir(parents=True)
    prepare()
    assert f'Note: delete {left}, which a killed run has left' in capsys.readouterr().out


def test_images_are_not_held_in_memory(image_folders, prepare):
    prepare('--name=first')  # what is imported or made once is not counted
    pixels = np.random.default_rng(0).integers(0, 256, (60, 200, 200, 3), np.uint8)
    for i, image in enumerate(pixels):
        (image_folders / 'trainA' / f'noise_{i:02}.png').write_bytes(imagecodecs.png_encode(image))
    del image
    tracemalloc.start()
    prepare('--name=second', '--num_threads=1', '--num_shards=1')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes / 3, f'{peak:,} of {pixels.nbytes:,} bytes'


def test_aligned_images_are_stored_whole(tmp_path, image_folders, prepare, capsys):
    (image_folders / 'train').mkdir()
    for i in range(2):
        pictures = [Image.open(image_folders / f'train{domain}' / f'{i}.png') for domain in 'AB']
        Image.fromarray(np.hstack(pictures)).save(image_folders / 'train' / f'{i}.png')
    prepare('--dataset_mode=aligned')
    halves = sources.open_domains(str(tmp_path / 'records'), 'train', 'aligned')
    for domain, half in zip('AB', halves):
        for i in range(2):
            expected = np.asarray(Image.open(image_folders / f'train{domain}' / f'{i}.png'))
            np.testing.assert_array_equal(half.picture(i), expected)
    assert capsys.readouterr().out.endswith('--dataset_mode=aligned\n')


@pytest.mark.parametrize(
    'flags, message',
    [
        ([], '`dataroot` .* is required'),
        (['--dataroot=photos'], '`output` .* is required'),
        (['--dataroot=photos', '--output=o', '--name=My-Set'], "`name` .'My-Set'. is not made of a-z"),
        (['--dataroot=photos', '--output=o', '--num_shards=0'], '`num_shards` .0. is below 1'),
    ],
)
def test_settings_that_cannot_work_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        parse(*flags)


def test_places_and_names_that_cannot_be_used_are_refused(tmp_path, image_folders, prepare):
    with pytest.raises(UserError, match="`dataroot` .'demo'. has no folder trainA"):
        prepare('--dataroot=demo')
    with pytest.raises(UserError, match="`name` .'mnist'. is that of a data set of TensorFlow Datasets"):
        prepare('--name=mnist')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='`output` .*file/below.* cannot be written .*; set it to another'):
        prepare(f'--output={tmp_path}/file/below')
    assert parse('--dataroot=/x/2 Zebras!', '--output=o').dataset_name == 'images_2_zebras'

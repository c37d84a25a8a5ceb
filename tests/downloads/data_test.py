"""Published data sets become folders to train on, at once or not at all."""

import io
import json
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf import download
from cyclegan_tf.downloads import catalogue
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.run_flags import parse_training
from tests.helpers import file_server
from tests.helpers.image_files import encode, picture

UNPAIRED = 'cyclegan/datasets/horse2zebra.zip'
PAIRS = 'pix2pix/datasets/facades.tar.gz'
JPEG = encode(picture(24), 'JPEG')
ALL = {f'horse2zebra/{phase}{domain}/{i}.jpg': JPEG for phase in ('train', 'test') for domain in 'AB' for i in range(3)}


@pytest.fixture
def server():
    with file_server.serving() as running:
        running.files[UNPAIRED] = zip_of(ALL)
        yield running


def zip_of(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def tar_of(files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w:gz') as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def get(name, output, *flags):
    return download.main(download.parse(['download', 'data', name, f'--output={output}', *flags]))


def from_server(server, tmp_path, name='horse2zebra'):
    where = (f'--mirror={server.address}', f'--cache_dir={tmp_path / "cache"}', '--retries=0')
    return get(name, tmp_path / 'sets' / name, *where)


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def command_works(output):
    """Whether the last line of the output is a command of training, with settings that are valid."""
    before, command = output.splitlines()[-1].split('python -m cyclegan_tf.train ')
    config, _ = parse_training(['train', *command.split()])
    return before == 'Train with: ' and config


def test_an_archive_of_two_domains(server, tmp_path, capsys):
    assert from_server(server, tmp_path) == 0
    folder, output = tmp_path / 'sets' / 'horse2zebra', capsys.readouterr().out
    assert files_of(folder) == sorted(['.download.json', *(name.partition('/')[2] for name in ALL)])
    assert (folder / 'trainA' / '1.jpg').read_bytes() == JPEG
    assert 'trainA: 3 images, trainB: 3 images, testA: 3 images, testB: 3 images' in output
    assert 'trainB  3 images, 24x24, colour, 8 bit, JPEG' in output
    config = command_works(output)
    assert (config.model, config.dataroot, config.name) == ('cycle_gan', str(folder), 'horse2zebra')
    assert files_of(tmp_path / 'sets') == [f'horse2zebra/{name}' for name in files_of(folder)]
    assert not list((tmp_path / 'cache').rglob('*.zip'))

    assert from_server(server, tmp_path) == 0  # it is there
    output = capsys.readouterr().out
    assert f"'{folder}' is the complete data set horse2zebra already." in output and command_works(output)
    assert len(server.asked) == 1
    (folder / 'trainA' / '1.jpg').unlink()
    with pytest.raises(UserError, match=r'^`output` \(.*\) is there and is not the complete data set horse2zebra; set'):
        from_server(server, tmp_path)


def test_a_folder_that_is_there_and_empty_becomes_it_through_a_link(server, tmp_path, capsys):
    (tmp_path / 'sets').mkdir()
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'sets' / 'horse2zebra').symlink_to('../disk')
    assert from_server(server, tmp_path) == 0
    assert (tmp_path / 'disk' / 'trainA' / '1.jpg').read_bytes() == JPEG
    assert command_works(capsys.readouterr().out).dataroot == str(tmp_path / 'sets' / 'horse2zebra')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['cache', 'disk', 'sets']


def test_the_current_folder_is_refused_before_the_download(server, tmp_path, monkeypatch):
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path / 'empty')
    with pytest.raises(UserError, match=r"^`output` \('.'\) is the current folder, which cannot be replaced; set it"):
        get('horse2zebra', '.', f'--mirror={server.address}', f'--cache_dir={tmp_path / "cache"}')
    assert not server.asked


def test_another_process_may_delete_the_archive_first(server, tmp_path):
    many = {f'horse2zebra/trainA/more{i}.jpg': JPEG for i in range(1000)}
    server.files[UNPAIRED] = zip_of({**many, **ALL})
    archive = tmp_path / 'cache' / UNPAIRED

    def delete():
        while not list(tmp_path.glob('sets/.*.part/made/*/*')):
            time.sleep(0.001)
        archive.unlink()

    deleting = threading.Thread(target=delete, daemon=True)
    deleting.start()
    assert from_server(server, tmp_path) == 0
    deleting.join(timeout=10)
    assert not archive.exists() and len(files_of(tmp_path / 'sets' / 'horse2zebra')) == 1013


def test_an_archive_of_pairs(server, tmp_path, capsys):
    beside = encode(np.concatenate([picture(16), picture(16)], 1), 'PNG')
    server.files[PAIRS] = tar_of({f'facades/{part}/1.png': beside for part in ('train', 'val')})
    assert from_server(server, tmp_path, 'pix2pix_facades') == 0
    assert files_of(tmp_path / 'sets' / 'pix2pix_facades') == ['.download.json', 'train/1.png', 'val/1.png']
    config = command_works(capsys.readouterr().out)
    assert (config.model, config.dataset_mode, config.direction) == ('pix2pix', 'aligned', 'BtoA')


@pytest.mark.parametrize('source', [(), ('--source=tfds',)])
def test_tensorflow_datasets(tmp_path, source, capsys):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=3):
        assert get('horse2zebra', tmp_path / 'set', f'--data_dir={tmp_path}', *source) == 0
    files = files_of(tmp_path / 'set')
    assert files[:2] == ['.download.json', 'testA/testA_000000.png'] and len(files) == 13
    assert len({(tmp_path / 'set' / name).read_bytes() for name in files[1:4]}) == 3
    assert command_works(capsys.readouterr().out).dataroot == str(tmp_path / 'set')


def test_what_tensorflow_datasets_cannot_open(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match="^'tfds:cycle_gan/facades' could not be opened .*take the archive with --sour"):
        get('facades', tmp_path / 'set', f'--data_dir={tmp_path / "file" / "tfds"}')
    assert not (tmp_path / 'set').exists()
    with pytest.raises(UserError, match=r"^`source` \(tfds\) does not have 'pix2pix_maps'; leave it out"):
        get('pix2pix_maps', tmp_path / 'set', '--source=tfds')


def half(files):
    return {name: content for name, content in files.items() if 'testB' not in name}


@pytest.mark.parametrize(
    'data, message',
    [
        (zip_of(half(ALL)), 'it has no folder with trainA, trainB, testA, testB'),
        (zip_of({**half(ALL), 'horse2zebra/testB/note.txt': b'none'}), 'it has no images in testB'),
        (zip_of({**ALL, '../escaped.jpg': JPEG}), 'may lead out of the folder'),
        (zip_of(ALL)[:-100], 'it is damaged: File is not a zip file'),
    ],
)
def test_an_archive_that_is_refused_leaves_nothing(server, tmp_path, data, message):
    server.files[UNPAIRED] = data
    with pytest.raises(UserError, match=rf'^{server.address}/{UNPAIRED} gives an archive .*{message}.*; start again'):
        from_server(server, tmp_path)
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] in ([], ['horse2zebra.zip.lock'])
    server.files[UNPAIRED] = zip_of(ALL)
    assert from_server(server, tmp_path) == 0


def test_damaged_images_are_named(server, tmp_path):
    server.files[UNPAIRED] = zip_of({**ALL, 'horse2zebra/testA/1.jpg': JPEG[:200]})
    with pytest.raises(UserError, match=r'^1 of 12 images cannot be used; .*--on_bad_image=skip:\n.*testA/1.jpg'):
        from_server(server, tmp_path)


def test_a_folder_that_is_something_else_stays(server, tmp_path):
    folder = tmp_path / 'sets' / 'horse2zebra'
    folder.mkdir(parents=True)
    assert from_server(server, tmp_path) == 0  # an empty one is as none
    (folder / '.download.json').write_text(json.dumps({'name': 'maps', 'images': {}}))
    with pytest.raises(UserError, match='is there and is not the complete data set horse2zebra'):
        from_server(server, tmp_path)
    assert len(server.asked) == 1 and len(files_of(folder)) == 13


# -------------------------------------------------------------------------------------------------------- cityscapes
@pytest.fixture
def own_copy(tmp_path):
    """Three streets of Cityscapes as its archives have them; returns the folders of labels and photographs."""
    for phase, city, number in (('train', 'aachen', 0), ('train', 'ulm', 1), ('val', 'munster', 2), ('test', 'x', 3)):
        for kind, endings in (('gtFine', ('color', 'labelIds')), ('leftImg8bit', ('leftImg8bit',))):
            folder = tmp_path / kind / kind / phase / city
            folder.mkdir(parents=True)
            for ending in endings:
                ending = ending if kind == ending else f'{kind}_{ending}'
                value = {'gtFine_color': 200, 'leftImg8bit': 20}.get(ending, 0) + 10 * number
                Image.new('RGB', (64, 32), (value, 0, 0)).save(folder / f'{city}_00000{number}_000019_{ending}.png')
    return tmp_path / 'gtFine', tmp_path / 'leftImg8bit'


def reds(path):
    array = np.asarray(Image.open(path))
    return array.shape, int(array[128, 5, 0]), int(array[128, -5, 0])


def prepare(name, folder, labels, photos):
    return get(name, folder, f'--gtFine_dir={labels}', f'--leftImg8bit_dir={photos}')


def test_cityscapes_of_ones_own_copy(own_copy, tmp_path, capsys):
    labels, photos = own_copy
    assert prepare('cityscapes', tmp_path / 'two', labels, photos / 'leftImg8bit') == 0
    names = ['aachen_000000_000019.jpg', 'ulm_000001_000019.jpg']
    assert files_of(tmp_path / 'two') == sorted([
        '.download.json', *(f'train{domain}/{name}' for domain in 'AB' for name in names),
        'testA/munster_000002_000019.jpg', 'testB/munster_000002_000019.jpg',
    ])  # fmt: skip
    assert reds(tmp_path / 'two' / 'trainA' / names[1]) == ((256, 256, 3), 30, 30)
    assert reds(tmp_path / 'two' / 'trainB' / names[1]) == ((256, 256, 3), 210, 210)
    assert command_works(capsys.readouterr().out).model == 'cycle_gan'

    assert prepare('pix2pix_cityscapes', tmp_path / 'pairs', labels, photos) == 0
    assert files_of(tmp_path / 'pairs')[1:] == ['test/munster_000002_000019.jpg', *(f'train/{name}' for name in names)]
    assert reds(tmp_path / 'pairs' / 'train' / names[0]) == ((256, 512, 3), 20, 200)
    assert command_works(capsys.readouterr().out).direction == 'BtoA'


def test_a_copy_that_is_not_complete(own_copy, tmp_path):
    labels, photos = own_copy
    missing = photos / 'leftImg8bit' / 'val' / 'munster' / 'munster_000002_000019_leftImg8bit.png'
    content = missing.read_bytes()
    missing.write_bytes(content[:60])
    with pytest.raises(UserError, match=f"^'{missing}' cannot be read .*unpack it again"):
        prepare('cityscapes', tmp_path / 'set', labels, photos)
    missing.rename(missing.with_name('berlin_000002_000019_leftImg8bit.png'))
    with pytest.raises(UserError, match=r"^`gtFine_dir` \(.*\) has no counterpart of '.*berlin_.*unpack both archives"):
        prepare('cityscapes', tmp_path / 'set', labels, photos)
    with pytest.raises(UserError, match=r'^`leftImg8bit_dir` \(.*\) has no train/CITY/\*_leftImg8bit.png; set it to'):
        prepare('cityscapes', tmp_path / 'set', labels, labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['gtFine', 'leftImg8bit']


def test_the_flags_of_every_data_set_are_taken():
    for name, entry in catalogue.DATA.items():
        config, _ = parse_training(['train', '--dataroot=folder', *entry.flags])
        assert (config.dataset_mode == 'aligned') == (entry.parts[0] == 'train') == name.startswith('pix2pix_')

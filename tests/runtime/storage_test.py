"""Files come into their folder as a whole, wherever that is."""

import subprocess
import sys

import fsspec
import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import storage
from tests.helpers.program import ROOT


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem('memory')
    filesystem.store.clear()
    return filesystem


def put(folder, name, data):
    with folder.scratch() as scratch:
        (scratch / 'x').write_bytes(data)
        folder.put(scratch / 'x', name)


@pytest.mark.parametrize('kind', ['path', 'file', 'memory'])
def test_files_are_put_replaced_and_found(tmp_path, memory, kind):
    place = {'path': str(tmp_path), 'file': f'file://{tmp_path}', 'memory': 'memory://bucket/out'}[kind]
    folder = storage.Folder('output', place)
    assert not folder.has('sub/a.png')
    for data in (b'one', b'two'):
        put(folder, 'sub/a.png', data)
        assert folder.has('sub/a.png') and not folder.has('sub')
        assert storage.read(folder.path('sub/a.png')) == data
    filesystem, root = storage.open_filesystem('output', f'file://{tmp_path}' if kind == 'path' else place)
    assert [path.rpartition('/')[2] for path in filesystem.find(root)] == ['a.png']


def test_a_store_gets_the_file_itself_and_others_rename_it(memory, monkeypatch):
    folder, told = storage.Folder('output', 'memory://bucket'), []
    put_file = type(memory).put_file
    monkeypatch.setattr(type(memory), 'put_file', lambda self, *paths: (told.append(paths[1]), put_file(self, *paths)))
    put(folder, 'a.png', b'one')
    monkeypatch.setattr(type(memory), 'protocol', ('s3', 's3a'))
    put(folder, 'b.png', b'two')
    assert told[0].startswith('/bucket/.') and told[0].endswith('.part') and told[1] == '/bucket/b.png'
    assert storage.read('memory://bucket/b.png') == b'two'


def test_a_file_that_another_attempt_has_put_is_no_error(memory, monkeypatch):
    # As on HDFS, where a file is not replaced.
    def refuse(self, source, target):
        raise FileExistsError(target)

    folder = storage.Folder('output', 'memory://bucket')
    monkeypatch.setattr(type(memory), 'mv', refuse)
    with pytest.raises(FileExistsError):
        put(folder, 'a.png', b'one')
    memory.pipe_file('/bucket/a.png', b'theirs')
    put(folder, 'a.png', b'one')
    assert memory.cat_file('/bucket/a.png') == b'theirs'


def test_what_another_process_has_written_meanwhile_is_seen(memory):
    folder = storage.Folder('output', 'memory://bucket')
    assert not folder.has('a.png')
    memory.pipe_file('/bucket/a.png', b'')
    assert not folder.has('a.png')  # as a crash leaves it
    memory.pipe_file('/bucket/a.png', b'one')
    assert folder.has('a.png')


def test_only_what_dead_processes_left_is_deleted(tmp_path):
    code = (
        'import os, signal, sys\n'
        'from cyclegan_tf.runtime import storage\n'
        f'with storage.Folder("output", {str(tmp_path)!r}).scratch() as scratch:\n'
        '    (scratch / "x.png").touch()\n'
        '    print(scratch.name, flush=True)\n'
        '    sys.stdin.read()\n'
    )
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        for _ in range(2)
    ]
    dead, alive = (process.stdout.readline().strip() for process in processes)
    (tmp_path / '.unfinished' / 'elsewhere-1-0').mkdir()
    processes[0].kill()
    processes[0].wait()
    assert (tmp_path / '.unfinished' / dead).exists()
    with storage.Folder('output', str(tmp_path)).scratch() as scratch:
        found = {path.name for path in (tmp_path / '.unfinished').iterdir()}
        assert found == {alive, 'elsewhere-1-0', scratch.name} and not list(scratch.iterdir())
    processes[1].communicate('')
    assert [path.name for path in (tmp_path / '.unfinished').iterdir()] == ['elsewhere-1-0']


def test_the_scratch_folder_goes_when_the_last_one_ends(tmp_path):
    one, other = (storage.Folder('output', str(tmp_path / 'out')) for _ in range(2))
    with one.scratch() as a:
        with other.scratch() as b:
            assert a != b
        assert a.is_dir() and not b.exists()
    assert list((tmp_path / 'out').iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    folder = storage.Folder('output', str(tmp_path / 'file' / 'out'))
    with pytest.raises(UserError, match=r'`output` \(.*\) cannot be written \(Not a directory\)'), folder.scratch():
        pass


def test_a_url_is_walked_as_a_folder(memory):
    for name in ('a/x.png', 'a/b/y.png', 'a/.h/z.png'):
        memory.pipe_file(f'/{name}', b'')
    walked = {where: (sorted(folders), sorted(files)) for where, folders, files in storage.walk('input', 'memory://a')}
    assert walked == {
        'memory://a': (['.h', 'b'], ['x.png']),
        'memory://a/b': ([], ['y.png']),
        'memory://a/.h': ([], ['z.png']),
    }
    with pytest.raises(UserError, match=r"`input` \('memory://gone'\) cannot be read"):
        list(storage.walk('input', 'memory://gone'))

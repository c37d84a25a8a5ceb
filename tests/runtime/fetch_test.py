"""Files come whole, from servers that break off, change their files, or send something else."""

import json
import os
import random
import re

import filelock
import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import fetch
from tests.helpers import file_server

PATH = 'cyclegan/pretrained_models/horse2zebra.pth'


@pytest.fixture
def server():
    with file_server.serving() as running:
        running.files[PATH] = content(1)
        yield running


def content(seed, size=300_000):
    """What begins as a file of PyTorch's does."""
    return b'PK\x03\x04' + random.Random(seed).randbytes(size - 4)


def get(server, cache, retries=0):
    return fetch.fetch(PATH, server.address, str(cache), retries)


def test_a_file_is_asked_for_once(server, tmp_path, capsys):
    fetched = get(server, tmp_path)
    assert fetched.path == tmp_path / PATH and fetched.path.read_bytes() == server.files[PATH]
    assert fetched.address == f'{server.address}/{PATH}'
    assert f'Downloading {fetched.address} (300 kB)' in capsys.readouterr().out
    assert get(server, tmp_path).path == fetched.path
    assert server.asked == [(PATH, None, None)] and 'Already downloaded' in capsys.readouterr().out
    kept = {path.name for path in fetched.path.parent.iterdir()} - {'horse2zebra.pth.lock'}
    assert kept == {'horse2zebra.pth', 'horse2zebra.pth.json'}
    fetched.forget()
    server.files[PATH] = content(2)
    assert get(server, tmp_path).path.read_bytes() == content(2) and len(server.asked) == 2


def test_the_cache_is_the_users(server, monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'users'))
    assert fetch.fetch(PATH, f'{server.address}/').path == tmp_path / 'users' / 'cyclegan_tf' / PATH


def test_a_start_goes_on_where_the_last_one_was_broken_off(server, tmp_path, capsys):
    server.breaks = [100_000]
    with pytest.raises(UserError, match=rf'^{server.address}/{PATH} could not be downloaded .*continues at 100 kB'):
        get(server, tmp_path)
    assert not (tmp_path / PATH).exists()
    assert get(server, tmp_path).path.read_bytes() == server.files[PATH]
    (_, first, _), (_, second, condition) = server.asked
    assert (first, second) == (None, 'bytes=100000-') and condition.startswith('"')
    assert '(300 kB, continuing at 100 kB)' in capsys.readouterr().out
    assert not list((tmp_path / PATH).parent.glob('*.part*'))


def test_what_is_broken_off_is_tried_again_as_long_as_more_comes(server, tmp_path, capsys):
    server.breaks = [100_000, 100_000]
    assert get(server, tmp_path, retries=1).path.read_bytes() == server.files[PATH]
    assert [wanted for _, wanted, _ in server.asked] == [None, 'bytes=100000-', 'bytes=200000-']
    assert capsys.readouterr().out.count('Broken off (the connection ended before the file did); trying again') == 2


def test_half_a_file_again_and_again_is_given_up(server, tmp_path):
    server.breaks, server.ranges = [150_000] * 9, False
    with pytest.raises(UserError, match='could not be downloaded .the connection ended before the file did.'):
        get(server, tmp_path, retries=1)
    assert len(server.asked) == 2 and not (tmp_path / PATH).exists()


@pytest.mark.parametrize('ranges, requests', [(False, 2), (True, 2), ('unchecked', 3)])
def test_a_file_that_changed_between_two_parts_is_the_new_one(server, tmp_path, ranges, requests):
    server.breaks, server.ranges = [100_000], ranges
    with pytest.raises(UserError):
        get(server, tmp_path)
    server.files[PATH] = content(2)
    assert get(server, tmp_path, retries=1).path.read_bytes() == content(2)
    assert len(server.asked) == requests and server.asked[1][1] == 'bytes=100000-'


def test_a_server_that_ignores_ranges_sends_all_of_it(server, tmp_path):
    server.breaks, server.ranges = [100_000], False
    with pytest.raises(UserError):
        get(server, tmp_path)
    assert get(server, tmp_path).path.read_bytes() == server.files[PATH]
    assert server.asked[1][1] == 'bytes=100000-'


def test_without_a_mark_of_the_version_nothing_is_added_to_a_part(server, tmp_path):
    server.breaks, server.tags = [100_000], False
    with pytest.raises(UserError):
        get(server, tmp_path)
    server.files[PATH] = content(2)
    assert get(server, tmp_path).path.read_bytes() == content(2)
    assert server.asked[1] == (PATH, None, None)


def test_a_part_that_is_all_of_the_file_is_not_asked_for_again(server, tmp_path):
    server.breaks = [100_000]
    with pytest.raises(UserError):
        get(server, tmp_path)
    (tmp_path / f'{PATH}.part').write_bytes(server.files[PATH])  # killed before the file had its name
    assert get(server, tmp_path).path.read_bytes() == server.files[PATH]
    assert len(server.asked) == 1


PAGE = b'<!DOCTYPE html>\n<html><body>Please log in.</body></html>'


@pytest.mark.parametrize(
    'settings, file, message',
    [
        ({'files': {}}, None, r'is refused by the server \(status 404, Not Found\); check the address'),
        ({'status': 403}, None, r'is refused by the server \(status 403'),
        ({'status': 503}, None, r'could not be downloaded \(status 503, .*\); check the connection'),
        ({'kind': 'text/html; charset=utf-8'}, PAGE, r"something other than a .pth file \(it begins with '<!DOCTYPE"),
        ({}, PAGE + 300 * b' <p>A long page.</p>', r"something other than a .pth file \(it begins with '<!DOCTYPE"),
        ({'breaks': [100_000]}, PAGE * 10_000, 'something other than a .pth file'),  # before all of it has come
        ({'kind': 'text/html'}, None, 'something other than a .pth file .*open it in a browser to see what'),
        ({}, b'', r'something other than a .pth file \(it is empty\)'),
    ],
)
def test_what_is_not_the_file_is_refused_in_a_sentence(server, tmp_path, settings, file, message):
    if file is not None:
        server.files[PATH] = file
    for name, value in settings.items():
        setattr(server, name, value)
    with pytest.raises(UserError, match=f'^{server.address}/{PATH} .*{message}') as caught:
        get(server, tmp_path)
    assert '\n' not in str(caught.value) and 'set another --mirror' in str(caught.value)
    assert not list((tmp_path / PATH).parent.glob('*.p*h')) and not list((tmp_path / PATH).parent.glob('*.part*'))


@pytest.mark.parametrize(
    'mirror, reason',
    [
        ('http://127.0.0.1:9', 'Failed to establish a new connection: .* Connection refused'),
        ('http://nowhere.invalid', 'the host is not known'),
        ('https://LOOPBACK', r'\[SSL: WRONG_VERSION_NUMBER\]'),
    ],
)
def test_a_host_that_does_not_answer(server, tmp_path, mirror, reason):
    mirror = mirror.replace('LOOPBACK', server.address.removeprefix('http://'))
    with pytest.raises(UserError, match=rf'^{mirror}/{PATH} could not be downloaded \({reason}') as caught:
        fetch.fetch(PATH, mirror, str(tmp_path), 0)
    assert not re.search('0x|object|Pool', str(caught.value)), caught.value


def test_an_address_that_is_none(tmp_path):
    with pytest.raises(UserError, match="^'http://host:999999/.*' is not an address; correct its beginning"):
        fetch.fetch(PATH, 'http://host:999999', str(tmp_path))


def test_the_first_checksum_holds(server, tmp_path):
    path = get(server, tmp_path).path
    record = path.with_name('horse2zebra.pth.json')
    assert json.loads(record.read_text())['bytes'] == 300_000
    path.write_bytes(content(2))
    with pytest.raises(UserError, match=rf"^'{path}' is no longer the file that was downloaded from .*delete it"):
        get(server, tmp_path)
    path.unlink()
    server.files[PATH] = content(3)
    with pytest.raises(UserError, match=rf"{PATH} has another file than when it was first .*'{record}'\); delete that"):
        get(server, tmp_path)
    assert not path.exists()
    record.unlink()
    assert get(server, tmp_path).path.read_bytes() == content(3)
    record.write_text('[]')
    with pytest.raises(UserError, match=f"^'{record}' is damaged; delete it"):
        get(server, tmp_path)


def test_two_processes_do_not_write_to_one_part(server, tmp_path):
    (tmp_path / PATH).parent.mkdir(parents=True)
    with filelock.FileLock(tmp_path / f'{PATH}.lock'):
        with pytest.raises(UserError, match='is being downloaded by another process; wait for it'):
            get(server, tmp_path)
    assert not server.asked


def test_the_proxy_of_the_environment_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv('http_proxy', server.address)
    monkeypatch.setenv('no_proxy', '')
    assert fetch.fetch(PATH, 'http://nowhere.invalid', str(tmp_path), 0).path.read_bytes() == server.files[PATH]


@pytest.mark.parametrize('user', ['', 'me:secret@'])
def test_a_proxy_may_be_written_without_a_scheme(server, tmp_path, monkeypatch, user):
    monkeypatch.setenv('http_proxy', user + server.address.removeprefix('http://'))
    monkeypatch.setenv('no_proxy', '')
    assert fetch.fetch(PATH, 'http://nowhere.invalid', str(tmp_path), 0).path.read_bytes() == server.files[PATH]


@pytest.mark.parametrize(
    'proxy, shown',
    [('socks5://me:secret@host:1', 'socks5://host:1'), ('http://[::1', ''), ('host:999999', 'http://host:999999'),
     ('http://', 'http://')],
)  # fmt: skip
def test_a_proxy_that_cannot_be_used_is_named(server, tmp_path, monkeypatch, proxy, shown):
    monkeypatch.setenv('http_proxy', proxy)
    monkeypatch.setenv('no_proxy', '')
    with pytest.raises(UserError, match='^The environment variable `http_proxy` .* or unset it.$') as caught:
        get(server, tmp_path)
    assert f"('{shown or proxy}')" in str(caught.value) and 'secret' not in str(caught.value)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=rf"`cache_dir` \('{tmp_path}/file'\) cannot be written .*; set it to another"):
        get(server, tmp_path / 'file')


@pytest.mark.parametrize('count, words', [(0, '0 bytes'), (999, '999 bytes'), (45_300_000, '45.3 MB'), (8e9, '8 GB')])
def test_sizes_in_words(count, words):
    assert fetch.describe_size(count) == words


def test_without_pooch_nothing_is_downloaded(server, tmp_path, monkeypatch):
    monkeypatch.setitem(os.sys.modules, 'pooch', None)
    with pytest.raises(UserError, match=r"^pooch is not installed, .*extra 'download': pip install '.\[download\]'"):
        get(server, tmp_path)
    assert not server.asked

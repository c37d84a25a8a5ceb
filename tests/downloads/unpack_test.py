"""Archives become folders, or are refused for what they hold."""

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile

import pytest

from cyclegan_tf.downloads import unpack

FILES = {'set/trainA/1.jpg': b'one' * 1000, 'set/trainA/2.jpg': b'', 'set/leer ä/3.jpg': bytes(range(256)) * 40}


def tar_of(path, files, **more):
    """An archive of files; `more`: the type and the link's target of all of them."""
    with tarfile.open(path, 'w:gz' if path.suffix == '.gz' else 'w') as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def zip_of(path, files, mode=stat.S_IFREG | 0o644, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo('placeholder')
            info.filename = info.orig_filename = name
            info.external_attr, info.compress_type = mode << 16, method
            archive.writestr(info, data)
    return path


MAKERS = {'.zip': zip_of, '.tar': tar_of, '.tar.gz': tar_of}


def archive(folder, kind, files=FILES, **more):
    return MAKERS[kind](folder / f'archive{kind}', files, **more)


def unpacked(path, folder, **more):
    """What became of an archive: contents by name."""
    folder.mkdir()
    unpack.unpack(path, folder, **more)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob('*') if file.is_file()}


@pytest.mark.parametrize('kind', MAKERS)
def test_files_are_unpacked(tmp_path, kind):
    path = archive(tmp_path, kind)
    assert unpacked(path, tmp_path / 'all') == FILES
    one = unpacked(path, tmp_path / 'one', wanted=lambda name: name.endswith('/1.jpg'))
    assert one == {'set/trainA/1.jpg': FILES['set/trainA/1.jpg']}


def test_folders_of_archives(tmp_path):
    (tmp_path / 'in' / 'set' / 'empty').mkdir(parents=True)
    (tmp_path / 'in' / 'set' / '1.jpg').write_bytes(b'one')
    with tarfile.open(tmp_path / 'whole.tar.gz', 'w:gz') as file:
        file.add(tmp_path / 'in', '.')  # its names begin with ./
    with zipfile.ZipFile(tmp_path / 'whole.zip', 'w') as file:
        for path in ('set', 'set/empty', 'set/1.jpg'):
            file.write(tmp_path / 'in' / path, path)
    for kind in ('zip', 'tar.gz'):
        assert unpacked(tmp_path / f'whole.{kind}', tmp_path / kind) == {'set/1.jpg': b'one'}
        assert (tmp_path / kind / 'set' / 'empty').is_dir()


@pytest.mark.parametrize('kind', MAKERS)
@pytest.mark.parametrize(
    'name', ['../out.jpg', 'set/../../out.jpg', '/out.jpg', 'C:/out.jpg', 'C:out.jpg', '..\\out.jpg', 'a//b', '..', '']
)
def test_names_that_may_lead_out_are_refused(tmp_path, kind, name):
    path = archive(tmp_path, kind, {'good.jpg': b'good', name: b'bad'})
    (tmp_path / 'a').mkdir()
    with pytest.raises(unpack.ArchiveError, match='which may lead out of the folder'):
        unpacked(path, tmp_path / 'a' / 'b')
    outside = [file for file in tmp_path.rglob('*') if file.is_file() and file != path]
    assert outside in ([], [tmp_path / 'a' / 'b' / 'good.jpg'])


@pytest.mark.parametrize('kind', ['.tar', '.tar.gz'])
@pytest.mark.parametrize(
    'type', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b'?']
)
def test_links_and_devices_of_tar_are_refused(tmp_path, kind, type):
    path = archive(tmp_path, kind, {'link': b''}, type=type, linkname='/etc/passwd')
    with pytest.raises(unpack.ArchiveError, match="'link' is a link or a device"):
        unpacked(path, tmp_path / 'out')
    assert not list((tmp_path / 'out').iterdir())


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_of_zip_are_refused(tmp_path, kind):
    path = zip_of(tmp_path / 'a.zip', {'link': b'/etc/passwd'}, mode=kind | 0o777)
    with pytest.raises(unpack.ArchiveError, match="'link' is a link or a device"):
        unpacked(path, tmp_path / 'out')
    assert not list((tmp_path / 'out').iterdir())


@pytest.mark.parametrize('kind', ['.zip', '.tar.gz'])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(unpack, 'FREE_BYTES', 100_000)
    path = archive(tmp_path, kind, {'bomb': bytes(30_000_000)})
    assert path.stat().st_size < 300_000
    with pytest.raises(unpack.ArchiveError, match='it becomes more than [\\d,]+ bytes or 500,000 files'):
        unpacked(path, tmp_path / 'out')
    assert not list((tmp_path / 'out').iterdir())


def test_a_bomb_that_declares_a_small_size_is_refused(tmp_path):
    path = zip_of(tmp_path / 'a.zip', {'bomb': bytes(3_000_000)})
    data = path.read_bytes()
    assert data.count(struct.pack('<I', 3_000_000)) == 2  # in both headers
    path.write_bytes(data.replace(struct.pack('<I', 3_000_000), struct.pack('<I', 30)))
    with pytest.raises(unpack.ArchiveError, match='another size than is declared|damaged'):
        unpacked(path, tmp_path / 'out')
    assert sum(file.stat().st_size for file in (tmp_path / 'out').iterdir()) <= 30


def test_bytes_are_counted_whatever_the_reader_of_the_archive_does(tmp_path):
    member = unpack._Member('bomb', 30, lambda: io.BytesIO(bytes(3_000_000)))
    with pytest.raises(unpack.ArchiveError, match="'bomb' has another size than is declared"):
        unpack._copy(member, tmp_path / 'bomb', 30)
    assert (tmp_path / 'bomb').stat().st_size == 0


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, 'MAX_FILES', 2)
    with pytest.raises(unpack.ArchiveError, match='bytes or 2 files'):
        unpacked(archive(tmp_path, '.zip'), tmp_path / 'out')


def test_a_tar_header_that_would_fill_the_memory_is_not_read(tmp_path):
    info = tarfile.TarInfo('x')
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / 'a.tar.gz').write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(100_000)))
    with pytest.raises(unpack.ArchiveError, match='it has a header of 1,099,511,627,776 bytes'):
        unpacked(tmp_path / 'a.tar.gz', tmp_path / 'out')


def test_what_follows_the_end_of_a_tar_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, '_MAX_PADDING', 1 << 22)
    data = gzip.decompress(archive(tmp_path, '.tar.gz').read_bytes())
    (tmp_path / 'a.tar.gz').write_bytes(gzip.compress(data + bytes(1 << 23)))
    with pytest.raises(unpack.ArchiveError, match='it goes on behind its end'):
        unpacked(tmp_path / 'a.tar.gz', tmp_path / 'out')


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zip_of(tmp_path / 'a.zip', {'secret': b'secret'})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(unpack.ArchiveError, match="'secret' is encrypted"):
        unpacked(path, tmp_path / 'out')


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('second', ['a', 'a/b'])
def test_two_files_of_one_name_are_refused(tmp_path, second):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as file:
        for name in ('a', second):
            file.writestr(name, name)
    with pytest.raises(unpack.ArchiveError, match="it holds 'a' twice"):
        unpacked(tmp_path / 'a.zip', tmp_path / 'out')


@pytest.mark.parametrize('kind', MAKERS)
def test_a_damaged_archive_is_never_taken_for_whole(tmp_path, kind):
    files = {f'set/{i}': random.Random(i).randbytes(1500) for i in range(9)}
    path = archive(tmp_path, kind, files)
    data = path.read_bytes()
    end = len(data) if kind != '.tar' else data.rindex(b'set/8') + 512 + 1536  # a tar's end may be cut
    refused = 0
    for i in range(1, 60):
        path.write_bytes(data[: end * i // 60])
        with pytest.raises(unpack.ArchiveError):
            unpacked(path, tmp_path / f'cut {i}')
        broken = bytearray(data)
        at = random.Random(i).randrange(end)
        broken[at] ^= 1 << (i % 8)
        path.write_bytes(broken)
        try:
            found = unpacked(path, tmp_path / f'broken {i}')
        except unpack.ArchiveError:
            refused += 1
        else:  # a bit of a time, or of a tar's contents, which have no checksum
            assert kind == '.tar' or sorted(found.values()) == sorted(files.values()), at
    assert refused > 5


def test_thousands_of_headers_for_one_file_are_damage(tmp_path):
    header = tarfile.TarInfo('header')
    header.type = tarfile.XHDTYPE
    (tmp_path / 'a.tar').write_bytes(header.tobuf() * 5000)
    with pytest.raises(unpack.ArchiveError, match='it is damaged: maximum recursion'):
        unpacked(tmp_path / 'a.tar', tmp_path / 'out')


def test_a_folder_appears_at_once(tmp_path):
    with unpack.new_folder(tmp_path / 'deep' / 'set') as partial:
        (partial / 'a').write_text('a')
        assert partial.parent == tmp_path / 'deep' and not (tmp_path / 'deep' / 'set').exists()
    assert not list((tmp_path / 'deep').iterdir())
    with pytest.raises(KeyError), unpack.new_folder(tmp_path / 'set'):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ['deep']

"""Files are there whole or not at all."""

import errno
import os
import pathlib

import pytest

from cyclegan_tf.runtime import files


def test_a_file_is_written_whole_with_its_folder(tmp_path):
    path = tmp_path / 'new' / 'file.bin'
    for data in (b'first', b'second, longer'):
        files.write_whole(path, data)
        assert path.read_bytes() == data
    assert [found.name for found in path.parent.iterdir()] == ['file.bin']


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / 'taken' / 'inside').mkdir(parents=True)
    with pytest.raises(OSError):
        files.write_whole(tmp_path / 'taken', b'data')
    assert [found.name for found in tmp_path.iterdir()] == ['taken']


def test_folders_that_cannot_be_synchronised_are_left_to_their_file_system(tmp_path, monkeypatch):
    (tmp_path / 'x').touch()
    synchronise = os.fsync

    def fail(descriptor, folder_error=None, file_error=None):
        is_folder = pathlib.Path(f'/proc/self/fd/{descriptor}').is_dir()
        if error := folder_error if is_folder else file_error:
            raise OSError(error, os.strerror(error))
        synchronise(descriptor)

    for of_folder, of_file in ((errno.EINVAL, None), (errno.EIO, None), (None, errno.EINVAL)):
        monkeypatch.setattr(os, 'fsync', lambda d, a=of_folder, b=of_file: fail(d, a, b))
        if (of_folder, of_file) == (errno.EINVAL, None):  # as CIFS has it
            files.sync([tmp_path / 'x'])
            continue
        with pytest.raises(OSError):
            files.sync([tmp_path / 'x'])

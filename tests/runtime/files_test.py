"""Files are there whole or not at all."""

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

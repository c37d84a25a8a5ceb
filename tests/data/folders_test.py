"""What of a folder is an image, and what is passed over; links and folders that cannot be read."""

import os

import pytest

from cyclegan_tf.data import folders, sources
from cyclegan_tf.errors import UserError


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def names(root, **settings):
    listing = folders.find_images(str(root), **settings)
    return [os.path.relpath(path, root) for path in listing.paths], listing.passed_over


def test_what_programs_leave_among_images_is_passed_over_and_counted(tmp_path):
    root = tmp_path / '.data'  # the folder that is named may be hidden
    make(root, 'b.png', 'a/x.jfif', 'c.jp2', 'd.AVIF', '._b.png', '.thumbnails/b.png', 'a/.ipynb_checkpoints/x.png',
         '@eaDir/b.png/THUMB.jpg', '__MACOSX/b.png', 'Thumbs.db', 'e.heic', 'f.heic', 'g.nii', 'README',
         'h.npy')  # fmt: skip
    assert names(root) == (
        ['a/x.jfif', 'b.png', 'c.jp2', 'd.AVIF'],
        '6 hidden files or folders, 2 .heic, 1 .nii, 1 .npy, 1 without an ending',
    )
    assert names(root, arrays=True)[0][-1] == 'h.npy'
    source = sources.open_files(str(root))
    assert source.notes == [f"Passed over in '{root}': {names(root)[1]}."]
    make(tmp_path, 'none/e.heic')
    with pytest.raises(UserError, match=r"none' holds no images \(1 .heic\); put files there that end in one of: jpg"):
        sources.open_files(str(tmp_path / 'none'))


def test_each_real_folder_is_listed_once_by_its_own_name(tmp_path):
    make(tmp_path, 'data/b/x.png', 'data/y.png', 'elsewhere/z.png')
    root = tmp_path / 'data'
    for link, target in (('a', 'b'), ('loop', '.'), ('b/up', '..'), ('more', '../elsewhere'), ('same', '../elsewhere')):
        (root / link).symlink_to(target)
    assert names(root) == (['b/x.png', 'more/z.png', 'y.png'], '')
    (tmp_path / 'link').symlink_to('data')
    assert names(tmp_path / 'link')[0] == ['b/x.png', 'more/z.png', 'y.png']


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    make(tmp_path, 'a/x.png')
    scan = os.scandir

    def refuse(path):  # the superuser may read every folder
        if path.endswith('a'):
            raise PermissionError(13, 'Permission denied')
        return scan(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(UserError, match="a' cannot be read .Permission denied.; correct that"):
        folders.find_images(str(tmp_path))


def test_remote_folders_have_no_hidden_images_either():
    import tensorflow as tf

    for name in ('x.png', '.hidden/y.png', 'deep/z.png', 'w.txt'):
        tf.io.gfile.makedirs(os.path.dirname(f'ram://listed/{name}'))
        with tf.io.gfile.GFile(f'ram://listed/{name}', 'wb') as file:
            file.write(b'x')
    listing = folders.find_images('ram://listed')
    assert listing.paths == ['ram://listed/deep/z.png', 'ram://listed/x.png']
    assert listing.passed_over == '1 hidden files or folders, 1 .txt'

"""What the look at a data set reports, and with which exit status."""

import pathlib
import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.training import Config
from tests.helpers import program

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'

import check_dataset  # noqa: E402

SMALL = ('--load_size=36', '--crop_size=32')


@pytest.fixture
def check(tmp_path, image_folders, capsys):
    """(flags) -> what is printed about image_folders, by words."""

    def run(*flags):
        argv = ['check', f'--dataroot={image_folders}', f'--cache_dir={tmp_path}/cache', *SMALL, *flags]
        assert check_dataset.main(parse(Config, argv)) == 0
        return ' '.join(capsys.readouterr().out.split())

    return run


def save(path, width, height, channels=3):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    if path.suffix == '.tif':
        tifffile.imwrite(path, pixels, planarconfig='contig', photometric='minisblack')
    else:
        Image.fromarray(pixels).save(path)


def test_program_exits_0_where_all_is_well_1_where_not_and_2_for_bad_flags(tmp_path, image_folders):
    def run(*flags):
        arguments = (TOOLS / 'check_dataset.py', '--dataroot=data', '--cache_dir=cache', *flags)
        return program.run_python(*arguments, cwd=tmp_path)

    status, output, error = run(*SMALL)
    assert status == 0, error
    assert 'testB   2 images, 48x40, colour, 8 bit, PNG\nAll images can be used.' in output
    assert 'Traceback' not in error

    cut = image_folders / 'trainA' / '1.png'
    cut.write_bytes(cut.read_bytes()[:900])
    (image_folders / 'testB' / 'no.jpg').write_text('no image')
    status, output, error = run(*SMALL)
    assert status == 1
    assert 'trainA  4 images, 48x40, colour, 8 bit, PNG; 1 cannot be used\n' in output
    lines = error[error.index('tools/check_dataset.py:') :].splitlines()
    assert lines[0].startswith('tools/check_dataset.py: 2 of 15 images cannot be used')
    assert re.fullmatch(r'  data/trainA/1\.png: .*truncated.*', lines[1])
    assert lines[2:] == ['  data/testB/no.jpg: it is not an image of a known format']

    status, _, error = run('--crop_size=30')
    assert status == 2 and '`crop_size` (30)' in error


def test_sizes_depth_and_formats_of_each_folder_are_told(check, image_folders):
    save(image_folders / 'trainB' / 'wide.jpg', 100, 24)
    Image.fromarray(np.full((40, 48), 40000, np.uint16)).save(image_folders / 'testA' / 'deep.png')
    text = check()
    assert 'trainA 5 images, 48x40, colour, 8 bit, PNG trainB 6 images, 2 sizes from 48x24 to 100x40' in text
    assert 'PNG (5) and JPEG (1) 1 of them smaller than the crop (32), so they are enlarged testA' in text
    assert 'testA 3 images, 48x40, colour (2) and gray (1), 8 bit (2) and 16 bit (1), PNG testB 2' in text
    assert 'smaller' not in check('--preprocess=none')
    assert 'trainB 2 images' in check('--max_dataset_size=2')


def test_images_that_are_in_both_domains_are_named(check, image_folders):
    assert 'Warning' not in check()
    (image_folders / 'trainB' / 'copy.png').write_bytes((image_folders / 'trainA' / '3.png').read_bytes())
    text = check()
    assert '1 image is in trainA and in trainB' in text
    assert f'{image_folders}/trainB/copy.png is identical to {image_folders}/trainA/3.png' in text


def test_training_folders_are_required_and_test_folders_looked_at_as_far_as_they_are_there(check, image_folders):
    (image_folders / 'testB').rename(image_folders / 'elsewhere')
    text = check()
    assert 'Some test images are missing' in text and 'no folder testB' in text and 'testA 2 images' in text
    (image_folders / 'testA' / 'empty.png').touch()
    with pytest.raises(UserError, match=r'1 of 13 images .*\n.*testA/empty\.png: the file is empty'):
        check()
    (image_folders / 'trainB').rename(image_folders / 'nowhere')
    with pytest.raises(UserError, match='no folder trainB'):
        check()


def test_images_with_too_many_channels_cannot_be_used(check, image_folders):
    save(image_folders / 'trainB' / 'five.tif', 48, 40, channels=5)
    with pytest.raises(UserError, match=r'1 of 15 .*\n.*five\.tif: it has 5 channels, which cannot be converted to 3'):
        check()
    # By direction the model's A, which has input_nc channels, is the one folder or the other.
    flags = ('--lambda_identity=0', '--input_nc=5')
    with pytest.raises(
        UserError, match=r'8 of 15 .*\n.*trainA/0\.png: it has 3 channels, which cannot be converted to 5'
    ):
        check(*flags)
    with pytest.raises(
        UserError, match=r'7 of 15 .*\n.*trainB/0\.png: it has 3 channels, which cannot be converted to 5'
    ):
        check(*flags, '--direction=BtoA')


def test_aligned_images_are_told_by_their_halves_once(check, image_folders):
    for i in range(3):
        save(image_folders / 'train' / f'{i}.png', 96, 40)
    save(image_folders / 'test' / '0.png', 60, 40)
    text = check('--dataset_mode=aligned')
    assert 'train 3 images, 48x40, colour, 8 bit, PNG (each half: A is the left one, B the right) test 1' in text
    assert 'test 1 images, 30x40, colour, 8 bit, PNG (each half: A is the left one, B the right) 1 of them' in text
    (image_folders / 'train' / 'bad.png').touch()
    with pytest.raises(UserError, match='^1 of 5 images'):
        check('--dataset_mode=aligned')

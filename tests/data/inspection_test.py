"""The look before training: what it finds, says, remembers and refuses, and that broken images cost no memory."""

import os
import shutil
import tempfile

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import decode, inspection, sources
from cyclegan_tf.errors import UserError
from tests.helpers import program
from tests.helpers.image_files import REASONS, picture, tiff


def open_a(root):
    return sources.open_domains(str(root), 'train')[0]


def test_all_bad_images_are_reported_at_once_by_name_and_reason(bad_folder, tmp_path):
    source = open_a(bad_folder)
    findings = inspection.inspect(source, 4, str(tmp_path / 'cache'))
    lines = inspection.bad_images(source, findings)
    assert len(lines) == len(REASONS)
    for name, reason in REASONS.items():
        (line,) = [line for line in lines if f'/{name}: ' in line]
        assert reason in line and len(line.split(f'{name}: ')[1]) > 5
    with pytest.raises(UserError) as caught:
        inspection.refuse(lines, len(source))
    assert str(caught.value).startswith(f'{len(REASONS)} of {len(source)} images cannot be used; repair them')
    assert all(line in str(caught.value) for line in lines)
    assert inspection.describe(findings).endswith(f'; {len(REASONS)} cannot be used')


def test_other_processes_may_look_at_what_is_not_known(bad_folder, tmp_path):
    source, asked = open_a(bad_folder), []
    expected = inspection.inspect(source, 2)

    def elsewhere(source, indices):
        asked.append(list(indices))
        return inspection.check_each(source.select(indices), 2)

    for _ in range(2):
        assert inspection.inspect(source, 2, str(tmp_path / 'cache'), elsewhere) == expected
    bad = [index for index, finding in enumerate(expected) if finding.problem is not None]
    assert asked == [list(range(len(source))), bad]  # problems are not remembered
    headers = [finding.header for _, finding in inspection.check_each(source, 2) if finding.header is not None]
    assert len({id(header) for header in headers}) == len(set(headers)) < len(headers)  # which makes results small


def test_what_was_found_until_the_check_is_stopped_is_remembered(image_folders, tmp_path, monkeypatch):
    source, asked = open_a(image_folders), []
    monkeypatch.setattr(inspection, 'SAVED_AFTER', 2)

    def stopped(source, indices):
        asked.append(list(indices))
        yield from list(inspection.check_each(source.select(indices), 1))[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspection.inspect(source, 1, str(tmp_path / 'cache'), stopped)
    assert inspection.inspect(source, 1, str(tmp_path / 'cache'), stopped) == inspection.inspect(source, 1)
    assert asked == [[0, 1, 2, 3, 4], [2, 3, 4]]


@pytest.mark.skipif(os.geteuid() != 0, reason='needs the right to become somebody else')
def test_a_file_that_may_not_be_read_is_reported_to_whom_it_is_forbidden(bad_folder):
    code = (
        'import os, sys\n'
        'from cyclegan_tf.data import inspection, sources\n'
        'os.setuid(65534)\n'
        'source = sources.open_domains(sys.argv[1], "train")[0]\n'
        'findings = inspection.inspect(source, 2, sys.argv[2])\n'
        'print(*inspection.bad_images(source, findings), sep="\\n")\n'
    )
    # Not below pytest's own folder, which every other process of pytest makes private anew.
    with tempfile.TemporaryDirectory() as place:
        data, cache = (os.path.join(place, name) for name in ('data', 'cache'))
        shutil.copytree(bad_folder, data, symlinks=True)
        os.mkdir(cache)
        for path, mode in ((place, 0o755), (cache, 0o777)):
            os.chmod(path, mode)
        _, output, error = program.run_python('-c', code, data, cache)
    assert 'forbidden.png: it cannot be read (permission denied)' in output, error


def test_bad_images_cost_no_memory(bad_folder, image_folders, tmp_path):
    code = (
        'import resource, sys\n'
        'from cyclegan_tf.data import inspection, sources\n'
        'source = sources.open_domains(sys.argv[1], "train")[int(sys.argv[2])]\n'
        'inspection.inspect(source, 4, sys.argv[3])\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n'
    )
    peaks = []
    for domain in '10':  # trainB is good
        status, output, error = program.run_python('-c', code, bad_folder, domain, tmp_path / domain)
        assert status == 0, error
        peaks.append(int(output.splitlines()[-1]))
    assert peaks[1] - peaks[0] < 300, peaks


def test_what_was_found_is_remembered_until_the_file_changes(image_folders, tmp_path, monkeypatch):
    source, looked = open_a(image_folders), []
    original = decode.check
    monkeypatch.setattr(decode, 'check', lambda data, of: looked.append(len(data)) or original(data, of))
    first = inspection.inspect(source, 2, str(tmp_path))
    assert len(looked) == 5
    assert inspection.inspect(open_a(image_folders), 2, str(tmp_path)) == first
    assert len(looked) == 5
    Image.new('RGB', (31, 17)).save(image_folders / 'trainA' / '3.png')
    again = inspection.inspect(open_a(image_folders), 2, str(tmp_path))
    assert len(looked) == 6
    assert (again[3].header.width, again[3].header.height) == (31, 17) and again[:3] == first[:3]


def test_bad_images_are_looked_at_again_and_a_cut_memory_is_made_anew(bad_folder, tmp_path):
    inspection.inspect(open_a(bad_folder), 2, str(tmp_path))
    Image.new('RGB', (9, 9)).save(bad_folder / 'trainA' / 'zero.png')
    (remembered,) = (tmp_path / 'headers').iterdir()
    remembered.write_text(remembered.read_text()[:50])
    source = open_a(bad_folder)
    lines = inspection.bad_images(source, inspection.inspect(source, 2, str(tmp_path)))
    assert len(lines) == len(REASONS) - 1


def test_images_in_both_domains_are_found_by_content(image_folders, tmp_path):
    data = (image_folders / 'trainA' / '2.png').read_bytes()
    (image_folders / 'trainB' / 'deep').mkdir()
    (image_folders / 'trainB' / 'deep' / 'other name.png').write_bytes(data)
    a, b = sources.open_domains(str(image_folders), 'train')
    found = inspection.duplicates(
        a, inspection.inspect(a, 2, str(tmp_path)), b, inspection.inspect(b, 2, str(tmp_path))
    )
    assert len(found) == 1 and 'other name.png is identical to' in found[0] and found[0].endswith('trainA/2.png')


def test_a_description_counts_sizes_channels_depth_and_formats(tmp_path):
    folder = tmp_path / 'trainA'
    folder.mkdir()
    (tmp_path / 'trainB').mkdir()
    Image.fromarray(picture(40)).save(folder / 'a.png')
    Image.fromarray(picture(40)).save(folder / 'b.jpg')
    Image.fromarray(picture(48)[..., 0]).save(folder / 'c.png')
    (folder / 'd.tif').write_bytes(tiff(picture(64).astype(np.uint16), photometric='rgb'))
    Image.fromarray(picture(8)).save(tmp_path / 'trainB' / 'x.png')
    findings = inspection.inspect(open_a(tmp_path), 2, str(tmp_path / 'cache'))
    assert inspection.describe(findings) == (
        '4 images, 3 sizes from 40x40 to 64x64, median 44x44, colour (3) and gray (1), 8 bit (3) and 16 bit (1), '
        'PNG (2) and JPEG (1) and TIFF (1)'
    )


def test_channels_that_an_image_cannot_be_given_are_a_problem(image_folders, tmp_path):
    findings = inspection.inspect(open_a(image_folders), 2, str(tmp_path))
    for channels in (1, 3, 4):
        assert inspection.check_channels(findings, channels) == findings
    problems = {finding.problem for finding in inspection.check_channels(findings, 5)}
    assert problems == {'it has 3 channels, which cannot be converted to 5'}


def test_aligned_images_need_two_halves(tmp_path):
    (tmp_path / 'train').mkdir()
    Image.new('RGB', (1, 9)).save(tmp_path / 'train' / 'x.png')
    a, _ = sources.open_domains(str(tmp_path), 'train', 'aligned')
    assert 'cannot be split into halves' in inspection.inspect(a, 1, str(tmp_path))[0].problem


def test_what_is_remembered_of_a_file_is_not_taken_for_another_at_the_same_place(tmp_path, monkeypatch):
    digests = []
    for place, level in (('one', 50), ('two', 150)):
        for part in ('trainA', 'trainB'):
            (tmp_path / place / 'data' / part).mkdir(parents=True)
            Image.new('RGB', (9, 9), (level,) * 3).save(tmp_path / place / 'data' / part / 'x.bmp')
            os.utime(tmp_path / place / 'data' / part / 'x.bmp', (1, 1))
        monkeypatch.chdir(tmp_path / place)
        digests.append(inspection.inspect(open_a('data'), 1, str(tmp_path))[0].digest)
    (tmp_path / 'one' / 'data').rename(tmp_path / 'two' / 'other')
    (tmp_path / 'two' / 'data').rename(tmp_path / 'two' / 'away')
    (tmp_path / 'two' / 'other').rename(tmp_path / 'two' / 'data')
    digests.append(inspection.inspect(open_a('data'), 1, str(tmp_path))[0].digest)
    assert digests[0] != digests[1] and digests[2] == digests[0]


def test_without_a_place_for_it_nothing_is_remembered_and_that_is_said(image_folders, tmp_path, monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/proc/nohome')
    lines = []
    assert inspection.choose_cache_dir(None, lines.append) is None
    assert len(lines) == 1 and "'/proc/nohome/.cache/cyclegan_tf' cannot be written" in lines[0]
    assert 'set --cache_dir to a folder that can' in lines[0]
    findings = inspection.inspect(open_a(image_folders), 2, None)
    assert all(finding.problem is None for finding in findings)
    assert inspection.choose_cache_dir(str(tmp_path / 'given'), lines.append) == str(tmp_path / 'given')
    with pytest.raises(UserError, match='`cache_dir` .*/proc/nothing.*cannot be written'):
        inspection.choose_cache_dir('/proc/nothing', lines.append)
    assert len(lines) == 1


def test_of_halves_the_values_are_their_own(tmp_path):
    (tmp_path / 'train').mkdir()
    both = np.concatenate([np.full((8, 9), 100, np.uint16), np.full((8, 9), 5000, np.uint16)], axis=1)
    (tmp_path / 'train' / 'x.tif').write_bytes(tiff(both))
    for half, value in zip(sources.open_domains(str(tmp_path), 'train', 'aligned'), (100, 5000)):
        findings = inspection.inspect(half, 1, str(tmp_path / 'cache'))
        assert findings[0].header.values == (value, value)
        assert f'Values go from {value:,} to {value:,} of 65,535' in inspection.notes(half, findings)[0]


def test_what_was_found_is_known_for_one_way_of_reading_alone(tmp_path):
    (tmp_path / 'trainA').mkdir()
    (tmp_path / 'trainA' / 'x.tif').write_bytes(tiff(np.ones((8, 9, 13), np.uint16)))
    for channels, size in ((13, (9, 8)), (1, (13, 9))):
        of = decode.ReadOptions((channels,))
        (source,) = sources.open_domains(str(tmp_path / 'trainA'), 'train', 'single', options=[of])
        for _ in range(2):
            (finding,) = inspection.inspect(source, 1, str(tmp_path / 'cache'))
            assert (finding.header.width, finding.header.height) == size and finding.header.values == (1, 1)
    assert inspection.notes(source, [finding])[0].endswith('x.tif: 8 pages; page 1 is used.')

"""What checks found is remembered in one small file, as long as images do not change, and not without end."""

import concurrent.futures
import dataclasses
import json
import time

from PIL import Image

from cyclegan_tf.data import decode, findings, inspection, sources
from cyclegan_tf.data.findings import Finding, StoredFindings
from cyclegan_tf.data.pictures import Header


def open_folder(root):
    return sources.open_files(str(root))


def test_added_removed_and_replaced_images_are_looked_at_and_no_others(image_folders, tmp_path, monkeypatch):
    root, looked, check = image_folders / 'trainA', [], decode.check
    monkeypatch.setattr(decode, 'check', lambda data, of: looked.append(len(data)) or check(data, of))

    def look():
        looked.clear()
        found = inspection.inspect(open_folder(root), 2, str(tmp_path))
        return len(looked), [finding.header.width for finding in found]

    assert look() == (5, [48] * 5)
    assert look() == (0, [48] * 5)
    Image.new('RGB', (30, 20)).save(root / '1b.png')
    assert look() == (1, [48, 48, 30, 48, 48, 48])
    (root / '0.png').unlink()
    assert look() == (0, [48, 30, 48, 48, 48])
    Image.new('RGB', (31, 20)).save(root / 'new.png')
    (root / 'new.png').rename(root / '3.png')
    assert look() == (1, [48, 30, 48, 31, 48])


def test_many_images_are_remembered_in_their_order_and_equal_headers_once(image_folders, tmp_path):
    source, count = open_folder(image_folders / 'trainA'), 5000
    many = dataclasses.replace(source, count=count, stamp=lambda i: f'{i}', data=lambda i: source.data(i % 5))
    found = inspection.inspect(many, 4, str(tmp_path))
    digests = [finding.digest for finding in found]
    assert digests == digests[:5] * (count // 5) and len(set(digests)) == 5
    (path,) = (tmp_path / 'headers').iterdir()
    assert len(json.loads(path.read_text())['headers']) == 1 and path.stat().st_size < 100 * count
    unread = dataclasses.replace(many, data=None)
    assert inspection.inspect(unread, 4, str(tmp_path)) == found


def test_decoded_images_are_remembered_until_they_change(image_folders, tmp_path):
    root, cache = image_folders / 'trainA', str(tmp_path)
    inspection.inspect(open_folder(root), 2, cache)
    source = open_folder(root)
    Image.new('RGB', (31, 17)).save(root / '1.png')
    inspection.remember_decoded(source, [0, 1, 4], cache)  # 1.png is another one meanwhile
    assert [finding.decoded for finding in inspection.inspect(source, 2, cache)] == [True, False, False, False, True]
    Image.new('RGB', (31, 17)).save(root / '0.png')
    assert [finding.decoded for finding in inspection.inspect(source, 2, cache)] == [False, False, False, False, True]
    inspection.remember_decoded(source, [0], None)


def test_threads_remember_different_headers(image_folders, tmp_path):
    class Slow(Header):
        def __hash__(self):
            time.sleep(0.001)  # other threads go on meanwhile
            return super().__hash__()

    source = open_folder(image_folders / 'trainA')
    stored = StoredFindings(source, str(tmp_path))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        headers = [Slow(i, 1, 3, 16, 'PNG', values=(0.0, float(i))) for i in range(1, 100)]
        list(pool.map(lambda header: stored.put(f'{header.width}', Finding(header, None, 'digest')), headers))
    stored.save()
    again = StoredFindings(source, str(tmp_path))
    found = [again.get(f'{i}').header for i in range(1, 100)]
    assert found == [Header(i, 1, 3, 16, 'PNG', values=(0.0, float(i))) for i in range(1, 100)]


def test_of_images_that_are_gone_only_some_are_remembered(image_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(findings, '_OTHERS', 7)
    source = open_folder(image_folders / 'trainA')
    for start in range(0, 100, 5):
        stored = StoredFindings(source, str(tmp_path))
        for i in range(start, start + 5):
            stored.put(f'{i}', Finding(Header(i + 1, 1, 3, 8, 'PNG'), None, ''))
        stored.save()
    again = StoredFindings(source, str(tmp_path))
    known = [i for i in range(100) if again.get(f'{i}') is not None]
    assert known == list(range(88, 100)) and again.get('99').header.width == 100
    (path,) = (tmp_path / 'headers').iterdir()
    assert len(json.loads(path.read_text())['headers']) == 12

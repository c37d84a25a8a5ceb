"""Where decoded images are kept: what fits, what processes leave behind, and that memory does not grow."""

import numpy as np
import pytest

from cyclegan_tf.data import stores
from cyclegan_tf.errors import UserError
from tests.helpers import program


def test_what_a_stopped_process_had_begun_to_fill_is_removed_and_no_other(tmp_path):
    stores.DiskStore(str(tmp_path), 'finished', 10, np.uint8).finish({})
    code = (
        'import sys, numpy\n'
        'from cyclegan_tf.data import stores\n'
        'store = stores.DiskStore(sys.argv[1], "other", 1000, numpy.uint8)\n'
        'print("begun", flush=True)\n'
        'import time; time.sleep(100)\n'
    )
    process = program.start_python('-c', code, tmp_path)
    assert process.stdout.readline() == 'begun\n'
    for alive in (True, False):
        stores.choose('auto', 1, str(tmp_path))
        assert len(list((tmp_path / 'images').glob('other.*.part'))) == alive
        process.kill()
        process.wait()
    assert stores.is_stored(str(tmp_path), 'finished', 10)


def test_auto_takes_memory_then_disk_then_nothing(tmp_path, monkeypatch):
    free = stores._free_disk(str(tmp_path))
    assert stores.choose('auto', 10**6, str(tmp_path), limit=2 * 10**6)[0] == 'memory'
    where, why = stores.choose('auto', 3 * 10**6, str(tmp_path / 'not' / 'yet'), limit=2 * 10**6)
    assert where == 'disk' and '3.0 MB of decoded images exceed the 2 MB' in why
    assert stores.choose('auto', free, str(tmp_path), limit=0)[0] == 'none'
    with pytest.raises(UserError, match='`cache` .disk. needs .*--cache_dir'):
        stores.choose('disk', free, str(tmp_path))
    # What an earlier run has left there takes no more room.
    assert stores.choose('auto', free, str(tmp_path), limit=0, stored=lambda: free)[0] == 'disk'
    assert stores.choose('disk', free, str(tmp_path), stored=lambda: free // 2)[0] == 'disk'
    with pytest.raises(UserError, match='`cache` .memory. needs .*set it to disk or none'):
        stores.choose('memory', 10**15, str(tmp_path))


@pytest.mark.parametrize('steps', [60, pytest.param(200, marks=pytest.mark.nightly)])
@pytest.mark.parametrize('where', ['disk', 'none'])
def test_a_set_much_larger_than_the_limit_streams_without_growth(photographs_folder, tmp_path, where, steps):
    code = (
        'import sys, resource, numpy as np\n'
        'from tests.helpers.image_tables import make_table\n'
        'from cyclegan_tf.data import pipeline, stores\n'
        'root, cache, where, steps = sys.argv[1:]\n'
        'pair = [make_table(root, cache, load=800, crop=784, domain=d) for d in (0, 1)]\n'
        'size = sum(table.bytes_needed for table in pair)\n'
        'assert size > 26e6\n'
        'assert stores.choose("auto", size, cache, limit=size // 10)[0] == "disk"\n'
        'if where == "disk": [table.keep("disk", cache, 2) for table in pair]\n'
        'stream = iter(pipeline.Stream(*pair, 1, 784, 0).from_step())\n'
        'peaks = []\n'
        'for count in (40, int(steps)):\n'
        '    for _ in range(count): next(stream)\n'
        '    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n'
        'print(*peaks, flush=True)\n'
        'del stream\n'
    )
    # Python's own memory: in a forked process what it shares with the other would count.
    status, output, error = program.run_python('-c', code, photographs_folder, tmp_path, where, steps, real=True)
    assert status == 0, error
    early, late = map(int, output.split()[-2:])
    assert late - early < 40, (early, late)

"""What the C library keeps of freed memory, and huge pages, in processes of their own."""

import os
import subprocess
import sys

import pytest

from cyclegan_tf.runtime import allocator

# Page faults, each of which clears a page, while a buffer of 48 MiB is taken, filled and freed for the second time and
# later, in this thread and in another.
FAULTS = """
import ctypes, resource, sys, threading
from cyclegan_tf.runtime import allocator
getattr(allocator, sys.argv[1])() if len(sys.argv) > 1 else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 48 << 20

def use(times):
    for _ in range(times):
        buffer = libc.malloc(size)
        ctypes.memset(buffer, 1, size)
        libc.free(buffer)

def faults():
    use(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use(5)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

found = []
faults()
thread = threading.Thread(target=faults)
thread.start()
thread.join()
print(*found)
"""
PAGES = 5 * (48 << 20) // 4096


def faults(*setting):
    command = [sys.executable, '-c', FAULTS, *setting]
    return list(map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))


@pytest.mark.skipif(sys.platform != 'linux', reason='only glibc is set up')
def test_buffers_are_kept_for_the_next_ones_in_every_thread():
    assert min(faults()) > PAGES / 2
    assert min(faults('share_arenas')) > PAGES / 2
    assert max(faults('keep_buffers')) < PAGES / 20


# The bytes in huge pages of a process that has filled a buffer of 256 MiB, and what it was started with.
HUGE = """
import os, sys
from cyclegan_tf.runtime import allocator
exec(os.environ.get('BEFORE', ''))
allocator.restart_with_huge_pages('prog')
import numpy as np
buffer = np.ones(256 << 20, np.uint8)
print(os.environ.get('GLIBC_TUNABLES'), allocator.bytes_in_huge_pages(), sys.argv[1:], sys.orig_argv.count('-X'))
"""
CHOICES = 'always [madvise] never\n'
offered = pytest.mark.skipif(
    allocator.tunables_for_huge_pages(None) is None, reason='this Linux gives huge pages to everybody or nobody'
)


def huge(*arguments, tunables=None, before=''):
    """The setting, the bytes, and the rest of the line."""
    env = {name: value for name, value in os.environ.items() if name != 'GLIBC_TUNABLES'}
    env.update({} if tunables is None else {'GLIBC_TUNABLES': tunables})
    # NumPy asks for huge pages by itself, unless it is told otherwise.
    env.update(NUMPY_MADVISE_HUGEPAGE='0', BEFORE=before)
    command = [sys.executable, '-X', 'utf8', '-c', HUGE, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    setting, count, rest = done.stdout.strip().split(' ', 2)
    return setting, int(count), rest


@offered
def test_a_process_restarts_itself_once_to_get_huge_pages_and_keeps_its_arguments():
    setting, count, rest = huge('prog', 'a b', '--flag')
    assert (setting, rest) == ('glibc.malloc.hugetlb=1', "['prog', 'a b', '--flag'] 2") and count > 0
    setting, count, _ = huge('prog', tunables='glibc.malloc.check=0')
    assert setting == 'glibc.malloc.check=0:glibc.malloc.hugetlb=1' and count > 0


@offered
@pytest.mark.parametrize(
    'arguments, tunables, before',
    [
        (['prog'], 'glibc.malloc.hugetlb=0', ''),  # the user's choice
        (['program'], None, ''),  # started for something else
        (['prog'], None, 'sys.settrace(lambda *event: None)'),  # in a debugger
        (['prog'], None, "os.execve = lambda *command: open('/no such')"),  # which raises OSError
    ],
)
def test_a_process_is_not_restarted(arguments, tunables, before):
    setting, count, rest = huge(*arguments, tunables=tunables, before=before)
    assert (setting, count, rest) == (str(tunables), 0, f'{arguments} 1')


@offered
def test_a_process_whose_variable_is_taken_away_is_restarted_once():
    setting, _, rest = huge('prog', before="os.environ.pop('GLIBC_TUNABLES', None)")
    assert (setting, rest) == ('None', "['prog'] 2")


def test_the_name_of_the_program_may_follow_the_option_at_once(monkeypatch):
    started = []
    monkeypatch.setattr(allocator, 'tunables_for_huge_pages', lambda tunables: 'a=1')
    monkeypatch.setattr(allocator.os, 'execve', lambda *command: started.append(command[1][-2:]))
    monkeypatch.setattr(allocator.sys, 'gettrace', lambda: None)
    for argv in (['-mcyclegan_tf.train', '--flag'], ['-m', 'cyclegan_tf.train'], ['-m', 'pytest']):
        monkeypatch.setattr(allocator.sys, 'orig_argv', ['python', *argv])
        allocator.restart_with_huge_pages('cyclegan_tf.train')
    assert started == [['-mcyclegan_tf.train', '--flag'], ['-m', 'cyclegan_tf.train']]


@pytest.mark.parametrize(
    'tunables, choices, libc, expected',
    [
        (None, CHOICES, ('glibc', '2.36'), 'glibc.malloc.hugetlb=1'),
        ('', CHOICES, ('glibc', '2.35'), 'glibc.malloc.hugetlb=1'),
        ('a.b=1', CHOICES, ('glibc', '2.41'), 'a.b=1:glibc.malloc.hugetlb=1'),
        ('a.b=1:glibc.malloc.hugetlb=0', CHOICES, ('glibc', '2.36'), None),
        (None, CHOICES, ('glibc', '2.31'), None),
        (None, CHOICES, ('', ''), None),  # musl
        (None, '[always] madvise never\n', ('glibc', '2.36'), None),
        (None, 'always madvise [never]\n', ('glibc', '2.36'), None),
    ],
)
def test_huge_pages_are_asked_for_where_asking_helps(tmp_path, tunables, choices, libc, expected):
    file = tmp_path / 'enabled'
    file.write_text(choices)
    assert allocator.tunables_for_huge_pages(tunables, file, libc) == expected


def test_what_is_not_known_is_not_asked_for(tmp_path):
    # There is no such file, or it cannot be read.
    for file in (tmp_path / 'enabled', tmp_path):
        assert allocator.tunables_for_huge_pages(None, file, ('glibc', '2.36')) is None
    assert allocator.bytes_in_huge_pages(tmp_path / 'smaps') is None


def test_bytes_in_huge_pages_are_read(tmp_path):
    (tmp_path / 'smaps').write_text('Rss:   9000 kB\n')
    assert allocator.bytes_in_huge_pages(tmp_path / 'smaps') is None
    (tmp_path / 'smaps').write_text('Rss:   9000 kB\nAnonHugePages:    4096 kB\nShmemPmdMapped:  7 kB\n')
    assert allocator.bytes_in_huge_pages(tmp_path / 'smaps') == 4 << 20

"""What the C library keeps of freed memory, and huge pages, in processes of their own."""

import os
import platform
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


# The kB in huge pages of a process that has filled a buffer of 256 MiB, and the environment's setting.
HUGE = """
import os, re, sys
from cyclegan_tf.runtime import allocator
allocator.restart_with_huge_pages(sys.argv[1])
import numpy as np
buffer = np.ones(256 << 20, np.uint8)
huge = re.search(r'AnonHugePages: *([0-9]+) kB', open('/proc/self/smaps_rollup').read()).group(1)
print(os.environ.get('GLIBC_TUNABLES'), huge, allocator.has_huge_pages(), sys.argv[1:], sys.orig_argv.count('-X'))
"""
CHOICES = 'always [madvise] never\n'


def huge(*arguments, tunables=None):
    env = {name: value for name, value in os.environ.items() if name != 'GLIBC_TUNABLES'}
    env.update({} if tunables is None else {'GLIBC_TUNABLES': tunables})
    # NumPy asks for huge pages by itself, unless it is told otherwise.
    command = [sys.executable, '-X', 'utf8', '-c', HUGE, *arguments]
    env['NUMPY_MADVISE_HUGEPAGE'] = '0'
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(
    allocator.tunables_for_huge_pages(None) is None, reason='this Linux gives huge pages to everybody or nobody'
)
def test_a_process_restarts_itself_once_to_get_huge_pages_and_keeps_its_arguments():
    setting, kilobytes, has, *rest = huge('prog', 'a b', '--flag').split(' ', 3)
    assert (setting, has, rest) == ('glibc.malloc.hugetlb=1', 'True', ["['prog', 'a b', '--flag'] 1"])
    assert int(kilobytes) > 200 << 10
    setting, kilobytes, has, *_ = huge('prog', tunables='glibc.malloc.check=0').split(' ')
    assert (setting, has) == ('glibc.malloc.check=0:glibc.malloc.hugetlb=1', 'True')
    # What the user has set stays.
    setting, kilobytes, has, *_ = huge('prog', tunables='glibc.malloc.hugetlb=0').split(' ')
    assert (setting, kilobytes, has) == ('glibc.malloc.hugetlb=0', '0', 'False')


def test_a_process_that_was_started_for_something_else_is_not_restarted(monkeypatch):
    monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
    monkeypatch.setattr(allocator, 'tunables_for_huge_pages', lambda tunables: 'glibc.malloc.hugetlb=1')
    allocator.restart_with_huge_pages('cyclegan_tf.train')
    assert 'GLIBC_TUNABLES' not in os.environ


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
        (None, None, ('glibc', '2.36'), None),  # no file: not Linux, or a kernel without huge pages
    ],
)
def test_huge_pages_are_asked_for_where_asking_helps(tmp_path, tunables, choices, libc, expected):
    file = tmp_path / 'enabled'
    if choices is not None:
        file.write_text(choices)
    assert allocator.tunables_for_huge_pages(tunables, file, libc) == expected


@pytest.mark.parametrize(
    'tunables, choices, expected',
    [
        ('glibc.malloc.hugetlb=1', CHOICES, True),
        ('a.b=1:glibc.malloc.hugetlb=1', CHOICES, True),
        ('glibc.malloc.hugetlb=0', CHOICES, False),
        ('', CHOICES, False),
        ('', '[always] madvise never\n', True),
        ('glibc.malloc.hugetlb=1', 'always madvise [never]\n', False),
    ],
)
def test_whether_there_are_huge_pages_is_known(tmp_path, monkeypatch, tunables, choices, expected):
    monkeypatch.setenv('GLIBC_TUNABLES', tunables)
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('glibc', '2.36'))
    (tmp_path / 'enabled').write_text(choices)
    assert allocator.has_huge_pages(tmp_path / 'enabled') == expected

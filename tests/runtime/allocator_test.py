"""What the C library keeps of freed memory, in processes of their own."""

import subprocess
import sys

import pytest

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

"""The import of TensorFlow, without its lines of information on standard error."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Iterator

from cyclegan_tf.runtime import garbage

# Of absl, before TensorFlow tells it what TF_CPP_MIN_LOG_LEVEL says: 'I0930 12:34:56.789012 123 port.cc:153] ...'. The
# other line comes before the first one of these, and says no more than where they go.
_INFORMATION = re.compile(rb'I\d{4} \d\d:\d\d:|WARNING: All log messages before absl::InitializeLog\(\) is called')
_FIRST_THAT_INFORMS = (2, 16)  # version of TensorFlow; 2.15 does as it is told
_END = b'\0'


@contextlib.contextmanager
def tensorflow() -> Iterator[None]:
    """A context for importing modules that import TensorFlow, without a search for garbage (see garbage.importing).

    TensorFlow's lines of information are left out, unless TF_CPP_MIN_LOG_LEVEL asks for them.
    """
    with garbage.importing(), without_information() if _informs() else contextlib.nullcontext():
        yield


def _informs() -> bool:
    """Whether TensorFlow prints lines of information when it is imported, although it is told not to."""
    if os.name != 'posix' or sys.stderr is None or 'tensorflow' in sys.modules:
        return False
    if os.environ.get('TF_CPP_MIN_LOG_LEVEL', '0') == '0':
        return False
    try:
        version = importlib.metadata.version('tensorflow')
    except importlib.metadata.PackageNotFoundError:  # it may have come as another package
        return False
    return tuple(map(int, version.split('.')[:2])) >= _FIRST_THAT_INFORMS


@contextlib.contextmanager
def without_information() -> Iterator[None]:
    """A context in which lines of information from C++ do not reach standard error.

    A process of its own filters them, so that everything else arrives, also what this process says when it crashes.
    """
    sys.stderr.flush()
    source, sink = os.pipe()
    filtering = os.fork()
    if not filtering:
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # it ends with this process
            os.close(sink)
            _filter(source, 2)
        finally:
            os._exit(0)
    os.close(source)
    stderr = os.dup(2)
    os.dup2(sink, 2)
    os.close(sink)
    try:
        yield
    finally:
        sys.stderr.flush()
        # A process that was started meanwhile may hold the pipe open, so that it would not end by being closed.
        with contextlib.suppress(BrokenPipeError):
            os.write(2, _END)
        os.dup2(stderr, 2)
        os.close(stderr)
        os.waitpid(filtering, 0)


def _filter(source: int, target: int) -> None:
    """Copies all lines but those of information from one file descriptor to another, up to _END or the end of file."""
    line = b''
    with open(target, 'wb', closefd=False) as output:
        while data := os.read(source, 2**16):
            *lines, line = (line + data).split(b'\n')
            output.writelines(one + b'\n' for one in lines if not _INFORMATION.match(one))
            output.flush()
            if line.endswith(_END):
                break
        output.write(line.removesuffix(_END))

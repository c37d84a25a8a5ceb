"""Processes that have TensorFlow imported and nothing computed: forked from one of that state, in no time."""

import contextlib
import faulthandler
import logging
import os
import pickle
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings

import absl.logging

_STARTED = struct.Struct('i')  # its number
_ENDED = struct.Struct('id')  # status, seconds of CPU
_REQUEST = 2**17  # bytes, at most
# Imported before forking. Nothing here may compute with TensorFlow or start a thread.
_PRELOADED = (
    'tensorflow',
    'cyclegan_tf.training.session',
    'cyclegan_tf.translation.test_set',
    'cyclegan_tf.evaluation.run',
    'cyclegan_tf.serving.export',
)

_server = None


def start_server() -> None:
    """Forks a process off, from which those of this module come. To be called before TensorFlow computes anything.

    They have this process's imports and environment, and TensorFlow's settings of now. What TensorFlow reads when it is
    imported (TF_CPP_MIN_LOG_LEVEL, TF_ENABLE_ONEDNN_OPTS) can no longer be changed for them.
    """
    global _server
    for name in _PRELOADED:
        __import__(name)
    _server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        try:
            _server.close()
            from tests.helpers import tiny_models

            with tiny_models.registered():
                _serve(theirs)
        finally:
            os._exit(1)
    theirs.close()


def has_server() -> bool:
    """Whether processes can be forked; a process that was itself forked has no server."""
    return _server is not None


def start(function, *arguments, cwd, env) -> 'Process':
    """Runs function(*arguments), both of which pickle, in a process of its own; its result is the exit status.

    Args:
        cwd, env: the working directory and the environment variables.
    """
    request = pickle.dumps((function, arguments, str(cwd), dict(env)))
    assert len(request) < _REQUEST
    status, output, error = (os.pipe() for _ in range(3))
    theirs = [end for _, end in (status, output, error)]
    try:
        socket.send_fds(_server, [request], theirs)
    finally:
        for end in theirs:
            os.close(end)
    return Process(function, status[0], output[0], error[0])


def call(function, *arguments, cwd, env, timeout=1200) -> subprocess.CompletedProcess:
    """As start, and waits for the end."""
    process = start(function, *arguments, cwd=cwd, env=env)
    output, error = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


class Process:
    """A process that was forked, with what the tests use of subprocess.Popen: stdout and stderr are text.

    Attributes:
        cpu_seconds: what it and the processes that it waited for have used, once it has ended.
    """

    def __init__(self, args, status: int, stdout: int, stderr: int):
        self.args, self.returncode, self.cpu_seconds, self._status = args, None, None, status
        self.stdout, self.stderr = (open(end, encoding='utf-8', errors='replace') for end in (stdout, stderr))
        (self.pid,) = self._read(_STARTED)

    def _read(self, numbers):
        data = os.read(self._status, numbers.size)
        if not data:
            raise RuntimeError(f'the process from which that of {self.args} was forked is gone')
        return numbers.unpack(data)

    def poll(self):
        """The exit status, negative for a signal; None: it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode, self.cpu_seconds = self._read(_ENDED)
            os.close(self._status)
        return self.returncode

    def wait(self, timeout=None):
        """Waits for the end; returns the exit status, or raises subprocess.TimeoutExpired after so many seconds."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.poll()

    def communicate(self, timeout=None):
        """Reads all that it prints from here on and waits for its end; returns both as text."""
        texts, until = {}, None if timeout is None else time.monotonic() + timeout
        threads = [
            threading.Thread(target=lambda stream=stream: texts.update({stream: stream.read()}), daemon=True)
            for stream in (self.stdout, self.stderr)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(until and max(0, until - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(until and max(0, until - time.monotonic()))
        return texts[self.stdout], texts[self.stderr]

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


# ------------------------------------------------------------------------------------------- what runs in the processes
def run_python(*arguments: str) -> int:
    """As `python *arguments`, which begin with a file, or with -m and a module, or with -c and code; for start."""
    kind, *rest = arguments
    sys.argv = [kind, *rest] if kind not in ('-m', '-c') else rest if kind == '-m' else ['-c', *rest[1:]]
    sys.modules.pop(rest[0] if kind == '-m' else None, None)  # it may have been imported, and runs anew
    try:
        if kind == '-m':
            runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
        elif kind == '-c':
            exec(compile(rest[0], '<string>', 'exec'), {'__name__': '__main__', '__builtins__': __builtins__})
        else:
            sys.path.insert(0, os.path.dirname(os.path.abspath(kind)))
            runpy.run_path(kind, run_name='__main__')
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


def _serve(connection: socket.socket) -> None:
    """Forks for each request, until the other side is gone."""
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever waits for a process of a request is not this one
    while True:
        request, ends, _, _ = socket.recv_fds(connection, _REQUEST, 3)
        if not request:
            os._exit(0)
        if not os.fork():
            connection.close()
            _keep(*ends, request)
        for end in ends:
            os.close(end)


def _keep(status: int, output: int, error: int, request: bytes) -> None:
    """Forks the process of a request, and tells its number and, in the end, how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if not process:
        try:
            os.close(status)
            os.dup2(output, 1)
            os.dup2(error, 2)
            os.close(output)
            os.close(error)
            _run(*pickle.loads(request))
        finally:
            os._exit(1)
    os.close(output)
    os.close(error)
    os.write(status, _STARTED.pack(process))
    _, end, used = os.wait4(process, 0)
    os.write(status, _ENDED.pack(os.waitstatus_to_exitcode(end), used.ru_utime + used.ru_stime))
    os._exit(0)


def _run(function, arguments, cwd, env) -> None:
    """In the process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # even if the tests were started with nohup
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    # Those that are there may be pytest's.
    sys.stdin = open(0, closefd=False)
    sys.stdout, sys.stderr = (open(number, 'w', buffering=1, closefd=False) for number in (1, 2))
    logging.root.handlers.clear()
    for logger in list(logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, 'handlers', ()):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.setStream(sys.stderr)
    absl.logging.get_absl_handler().python_handler.setStream(sys.stderr)
    warnings.resetwarnings()
    warnings.simplefilter('ignore')
    status = 1
    try:
        status = int(function(*arguments))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

"""What every program does around its work: exit codes, and one sentence for an error that the user can correct."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.signals import Interruption


def run_program(program: str, parse_argv: Callable[[list[str]], Any], main: Callable[[Any], int]) -> None:
    """Parses flags, runs main and exits: with main's status (0: done), 1 after an error, 2 for bad flags, 128 and its
    number after a signal.

    An error that the user can correct is reported in one sentence, any other one with its traceback.

    Args:
        program: its name, as python -m takes it, or its path.
        parse_argv: argv -> settings.
        main: settings -> exit status.
    """
    _restart_in_utf8()
    _open_standard_streams()
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # for names of files that the terminal cannot show
            if stream.isatty():
                setattr(sys, name, _Terminal(stream))
    argv = [program, *sys.argv[1:]]
    verbose = any(argument in ('--verbose', '-verbose', '--verbose=true') for argument in argv)
    try:
        settings = parse_argv(argv)
    except (flags.Error, UserError) as error:
        _complain(program, error, verbose)
        sys.exit(2)
    except BrokenPipeError:  # the help is piped into a program that has read enough, such as `head`
        os._exit(128 + signal.SIGPIPE)
    try:
        status = main(settings)
    except (UserError, OSError) as error:
        _complain(program, error, verbose)
        status = 1
    except Interruption as interruption:
        status = 128 + interruption.number
    except KeyboardInterrupt:
        status = 130  # 128 + SIGINT
    except Exception:  # a bug: the traceback is shown
        traceback.print_exc()
        status = 1
    # A normal exit of Python waits for TensorFlow's threads, which takes long, and forever if a stream of images is
    # still open.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _open_standard_streams() -> None:
    """Opens the null device for standard streams with which Python was started closed, as by a daemon or `2>&-`.

    Otherwise print would fail at the end, and the next file that is opened would get what C++ writes to such a stream.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # the first descriptor that is free


class _Terminal:
    """The stream of a terminal that may be closed: writing to it then does nothing."""

    def __init__(self, stream: io.TextIOWrapper):
        self._stream = stream

    def write(self, text: str) -> int:
        """As a text stream's."""
        with self._unless_closed():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As a text stream's."""
        with self._unless_closed():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @staticmethod
    @contextlib.contextmanager
    def _unless_closed() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EIO:
                raise


def _restart_in_utf8() -> None:
    """Restarts Python in its UTF-8 mode if the locale has another encoding: TensorFlow takes all paths for UTF-8."""
    if sys.getfilesystemencoding() not in ('utf-8', 'UTF-8'):
        os.execv(sys.executable, [sys.executable, '-X', 'utf8', *sys.orig_argv[1:]])


def _complain(program: str, error: Exception, verbose: bool) -> None:
    if verbose:
        traceback.print_exception(error)
    # Our own messages may have a line for each image; other messages are joined to one line.
    message = str(error) if isinstance(error, UserError) else ' '.join(str(error).split())
    print(f'{program}: {message}', file=sys.stderr, flush=True)

"""What every program does around its work: exit codes, and one sentence for an error that a user can mend."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from absl import flags

from cyclegan_tf.errors import UserError


def run_program(program: str, parse_argv: Callable[[list[str]], Any], main: Callable[[Any], int]) -> None:
    """Parses, runs and exits: main's status (0: done), 1 with one sentence for what a user can mend, 2 for bad flags.

    Args:
        program: its name, as python -m takes it, or its path.
        parse_argv: argv -> settings.
        main: settings -> exit status.
    """
    argv = [program, *sys.argv[1:]]
    verbose = any(argument in ('--verbose', '-verbose', '--verbose=true') for argument in argv)
    try:
        settings = parse_argv(argv)
    except (flags.Error, UserError) as error:
        _complain(program, error, verbose)
        sys.exit(2)
    try:
        status = main(settings)
    except (UserError, OSError) as error:
        _complain(program, error, verbose)
        status = 1
    except KeyboardInterrupt:
        status = 130  # 128 + SIGINT
    except Exception:  # a fault of ours: all of it is shown
        traceback.print_exc()
        status = 1
    # Python's own end waits for TensorFlow's threads, which takes long, and forever with a stream of images that is
    # still alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _complain(program: str, error: Exception, verbose: bool) -> None:
    if verbose:
        traceback.print_exception(error)
    # Our own messages may be lists, one line for each image; others are made one line.
    message = str(error) if isinstance(error, UserError) else ' '.join(str(error).split())
    print(f'{program}: {message}', file=sys.stderr, flush=True)

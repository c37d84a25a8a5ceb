"""Processes that have TensorFlow imported and nothing computed: forked from one of that state, in no time."""

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import runpy
import sys
import tempfile
import traceback

_PATIENCE = 1200  # seconds


@dataclasses.dataclass(frozen=True)
class Done:
    """How a process ended, as subprocess.run tells it: negative for a signal."""

    returncode: int
    stdout: str
    stderr: str


class FreshProcesses:
    """Forks itself off where it is made, which has to be before TensorFlow computes anything, and forks from there.

    What a test needs that is to have its own TensorFlow, without the seconds that it takes to import it.
    """

    def __init__(self):
        self._connection, theirs = multiprocessing.Pipe()
        if not os.fork():
            self._connection.close()
            _serve(theirs)
        theirs.close()

    def call(self, function, *arguments, cwd, env) -> Done:
        """Runs function(*arguments), both of which pickle, in a process of its own; its result is the exit status.

        Args:
            cwd, env: the working directory and the environment variables.
        """
        self._connection.send((function, arguments, str(cwd), env))
        if not self._connection.poll(_PATIENCE):
            raise TimeoutError(f'{function} {arguments} is not done after {_PATIENCE} seconds')
        return self._connection.recv()


def run_script(path: str, *arguments: str) -> int:
    """As `python path arguments`, for FreshProcesses.call; returns the exit status."""
    sys.argv = [path, *arguments]
    try:
        runpy.run_path(path, run_name='__main__')
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


def _serve(connection: multiprocessing.connection.Connection) -> None:
    """Forks for each request, until the other side is gone."""
    while True:
        try:
            request = connection.recv()
        except EOFError:
            os._exit(0)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
            process = os.fork()
            if not process:
                connection.close()
                _run(output, error, *request)
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            texts = []
            for file in (output, error):
                file.seek(0)
                texts.append(file.read().decode(errors='replace'))
        connection.send(Done(status, *texts))


def _run(output, error, function, arguments, cwd, env) -> None:
    """In the process of its own."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output.fileno(), 1)
    os.dup2(error.fileno(), 2)
    # Those that are there may be pytest's.
    sys.stdout, sys.stderr = (open(number, 'w', buffering=1, closefd=False) for number in (1, 2))
    status = 1
    try:
        status = int(function(*arguments))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

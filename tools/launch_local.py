"""Trains with several workers on this machine: python tools/launch_local.py --workers=2 -- FLAGS OF cyclegan_tf.train

To try what several machines would do, or to give each worker some of the machine's GPUs. The workers' addresses are
free ports of this machine. The first worker's output is shown as it is, the others' lines on standard error after
their names. SIGTERM and SIGINT are passed on to all. Exit status: 0, or that of the worker that failed first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import setting, validate_fields  # noqa: E402

_GRACE = 60.0  # seconds in which the others have to notice by themselves that one has failed
_LAST_GRACE = 10.0  # seconds to leave after SIGTERM
_LOOK = 0.2  # seconds between looks


@dataclasses.dataclass(frozen=True)
class LaunchConfig:
    """What is started."""

    workers: int = setting(2, 'number of processes that train together', minimum=1)
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)


def parse(argv: Sequence[str]) -> tuple[LaunchConfig, list[str]]:
    """Own settings before --, the program's flags behind.

    Raises:
        UserError: there is no --.
    """
    if '--' not in argv and flags.names_help(argv):
        argv = [*argv, '--']
    if '--' not in argv:
        raise UserError(
            "the flags of cyclegan_tf.train have to stand behind '--', as in --workers=2 -- --dataroot=demo."
        )
    bound = list(argv).index('--')
    return flags.parse(LaunchConfig, argv[:bound]), list(argv[bound + 1 :])


def main(settings: tuple[LaunchConfig, list[str]]) -> int:
    """Starts the workers and waits for them; returns the exit status."""
    config, flags = settings
    shares = share_gpus(visible_gpus(os.environ), config.workers)
    workers: list[subprocess.Popen] = []

    def pass_on(number, frame):
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)

    # Before the first is started, so that none is left behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    for i, tf_config in enumerate(make_tf_configs(config.workers)):
        workers.append(start(i, flags, {'TF_CONFIG': tf_config, **shares[i]}))
    readers = [threading.Thread(target=show, args=(i, worker)) for i, worker in enumerate(workers) if i]
    for reader in readers:
        reader.start()
    status = wait(workers)
    for reader in readers:
        reader.join()
    return status


def make_tf_configs(workers: int) -> list[str]:
    """TF_CONFIG for each of so many workers on this machine, with ports that are free now."""
    # All are held until the last is found, so that none is found twice.
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(workers)]
    addresses = [f'127.0.0.1:{one.getsockname()[1]}' for one in sockets]
    for one in sockets:
        one.close()
    return [
        json.dumps({'cluster': {'worker': addresses}, 'task': {'type': 'worker', 'index': i}}) for i in range(workers)
    ]


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, else the numbers of all NVIDIA GPUs of this machine."""
    named = environment.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [name for name in named.split(',') if name.strip() not in ('', '-1')]
    files = [path.name.removeprefix('nvidia') for path in pathlib.Path('/dev').glob('nvidia[0-9]*')]
    return sorted(files, key=int)


def share_gpus(gpus: Sequence[str], workers: int) -> list[dict[str, str]]:
    """Environment variables for each worker, which give it GPUs of its own.

    Raises:
        UserError: the workers cannot have equally many.
    """
    if not gpus:
        return [{}] * workers
    if len(gpus) % workers:
        raise UserError(
            f'`workers` ({workers}) cannot share {len(gpus)} GPUs evenly; set it to a divisor, or '
            f'CUDA_VISIBLE_DEVICES to as many as they can share, or to nothing for the CPU.'
        )
    share = len(gpus) // workers
    return [{'CUDA_VISIBLE_DEVICES': ','.join(gpus[i * share : (i + 1) * share])} for i in range(workers)]


def start(i: int, flags: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen:
    """Starts a worker. It gets no signal of the terminal, which would come twice to it."""
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return subprocess.Popen(
        [sys.executable, '-m', 'cyclegan_tf.train', *flags],
        env={**os.environ, 'PYTHONPATH': python_path, **variables},
        stdout=subprocess.PIPE if i else None,
        stderr=subprocess.STDOUT if i else None,
        text=True,
        errors='replace',
        start_new_session=True,
    )


def show(i: int, worker: subprocess.Popen) -> None:
    """What a worker prints, line by line."""
    for line in worker.stdout:
        print(f'worker {i}: {line}', end='', file=sys.stderr, flush=True)


def wait(workers: Sequence[subprocess.Popen]) -> int:
    """Waits until all have ended; ends those that do not when one has failed. Returns the first failure's status."""
    failed, since, asked = 0, 0.0, False
    while True:
        running = [worker for worker in workers if worker.poll() is None]
        for worker in workers:
            if not failed and worker.poll():
                failed, since = worker.returncode, time.monotonic()
        if not running:
            return failed if failed >= 0 else 128 - failed  # a signal's number, as the shell tells it
        over = time.monotonic() - since - _GRACE
        if failed and over > 0:
            for worker in running:
                worker.send_signal(signal.SIGKILL if asked and over > _LAST_GRACE else signal.SIGTERM)
            asked = True
        time.sleep(_LOOK)


if __name__ == '__main__':
    run_program('tools/launch_local.py', parse, main)

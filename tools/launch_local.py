"""Trains with several workers on this machine: python tools/launch_local.py --workers=2 -- FLAGS OF cyclegan_tf.train

It serves to try what several machines would do, or to give each worker some of the machine's GPUs. The workers'
addresses are free ports of this machine. The first worker's output is printed unchanged; the lines of the others go to
standard error, with the worker's name in front. SIGTERM and SIGINT are passed on to all workers. Exit status: 0, or
that of the first worker that failed.
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

_GRACE = 60.0  # seconds in which the other workers have to notice by themselves that one has failed
_LAST_GRACE = 10.0  # seconds in which they have to exit after SIGTERM
_INTERVAL = 0.2  # seconds between checks


@dataclasses.dataclass(frozen=True)
class LaunchConfig:
    """What to start."""

    workers: int = setting(2, 'number of processes that train together', minimum=1)
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)


def parse(argv: Sequence[str]) -> tuple[LaunchConfig, list[str]]:
    """Splits the command line at --: this program's settings before it, and the flags of training after it.

    Raises:
        UserError: there is no --.
    """
    if '--' not in argv and flags.names_help(argv):
        argv = [*argv, '--']
    if '--' not in argv:
        raise UserError("the flags of cyclegan_tf.train have to follow '--', as in --workers=2 -- --dataroot=demo.")
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

    # Before the first worker starts, so that no worker is left behind.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has SIGHUP ignored
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
    """TF_CONFIG for each of the workers on this machine, with ports that are free now."""
    # All sockets stay open until the last port is found, so that no port is found twice.
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(workers)]
    addresses = [f'127.0.0.1:{one.getsockname()[1]}' for one in sockets]
    for one in sockets:
        one.close()
    return [
        json.dumps({'cluster': {'worker': addresses}, 'task': {'type': 'worker', 'index': i}}) for i in range(workers)
    ]


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, or else the numbers of all NVIDIA GPUs of this machine."""
    named = environment.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [name for name in named.split(',') if name.strip() not in ('', '-1')]
    files = [path.name.removeprefix('nvidia') for path in pathlib.Path('/dev').glob('nvidia[0-9]*')]
    return sorted(files, key=int)


def share_gpus(gpus: Sequence[str], workers: int) -> list[dict[str, str]]:
    """Environment variables for each worker, which give it its own GPUs.

    Raises:
        UserError: the GPUs cannot be divided evenly among the workers.
    """
    if not gpus:
        return [{}] * workers
    if len(gpus) % workers:
        raise UserError(
            f'`workers` ({workers}) cannot share {len(gpus)} GPUs evenly; set it to a divisor, or '
            f'CUDA_VISIBLE_DEVICES to as many GPUs as they can share, or to an empty value for the CPU.'
        )
    share = len(gpus) // workers
    return [{'CUDA_VISIBLE_DEVICES': ','.join(gpus[i * share : (i + 1) * share])} for i in range(workers)]


def start(i: int, flags: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen:
    """Starts a worker in a session of its own, so that it does not get the terminal's signals, too."""
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
    """Prints what a worker prints, line by line."""
    for line in worker.stdout:
        print(f'worker {i}: {line}', end='', file=sys.stderr, flush=True)


def wait(workers: Sequence[subprocess.Popen]) -> int:
    """Waits until all workers have ended; ends the others if one has failed. Returns the first failure's status."""
    failed, since, sigterm_sent = 0, 0.0, False
    while True:
        running = [worker for worker in workers if worker.poll() is None]
        for worker in workers:
            if not failed and worker.poll():
                failed, since = worker.returncode, time.monotonic()
        if not running:
            return failed if failed >= 0 else 128 - failed  # 128 + the number of a signal, as in a shell
        over = time.monotonic() - since - _GRACE
        if failed and over > 0:
            for worker in running:
                worker.send_signal(signal.SIGKILL if sigterm_sent and over > _LAST_GRACE else signal.SIGTERM)
            sigterm_sent = True
        time.sleep(_INTERVAL)


if __name__ == '__main__':
    run_program('tools/launch_local.py', parse, main)

"""Notices when a worker dies: the other workers name it and exit, rather than wait for it forever."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Optional

import tensorflow as tf

from cyclegan_tf.distribution.cluster import Cluster

_INTERVAL = 2.0  # seconds between checks
_CHECKS = 3  # in a row that have to find a worker gone; a full queue of connections soon has room again
_PATIENCE = 30.0  # seconds in which a check has to explain TensorFlow's error
_REMINDER = 20.0  # seconds between messages about workers that have not started yet

# What TensorFlow raises if another worker disappears during a sum over all workers.
_BROKEN = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class Watch:
    """Checks the other workers from a thread while the context lasts; ends the process when one of them is gone.

    The main thread is then waiting inside of TensorFlow, where no exception reaches it. `end` ends the watch: by then
    all workers have to be done. Leaving the context ends it, too, for whatever reason.

    Args:
        cluster: the workers; there is no watch if it is None or has a single worker.
        before_exit: called before the process is ended.
    """

    def __init__(self, cluster: Optional[Cluster], before_exit: Callable[[], object] = lambda: None):
        self._cluster, self._before_exit = cluster, before_exit
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name='watch')

    def __enter__(self) -> Watch:
        if self._cluster is not None and self._cluster.workers > 1:
            self._thread.start()
        return self

    def __exit__(self, kind, error, _) -> None:
        if isinstance(error, _BROKEN) and self._thread.is_alive():
            self._thread.join(_PATIENCE)  # the thread ends the process with a message if a lost worker is the reason
        self.end()

    def end(self) -> None:
        """Ends the watch: workers that disappear from here on are not reported."""
        self._done.set()

    def _run(self) -> None:
        cluster = self._cluster
        started: set[int] = set()  # workers that could be reached once; the others may still be starting
        failed_checks: dict[int, int] = {}
        reminded = time.monotonic()
        while not self._done.wait(_INTERVAL):
            missing = set(cluster.unreachable())
            started |= set(range(cluster.workers)) - missing
            failed_checks = {worker: failed_checks.get(worker, 0) + 1 for worker in missing & started}
            gone = [worker for worker, checks in failed_checks.items() if checks >= _CHECKS]
            if gone and not self._done.is_set():
                self._end(gone)
            late = missing - started
            if late and time.monotonic() - reminded > _REMINDER:
                reminded = time.monotonic()
                self._say(f'waiting for {self._name(late)}.')

    def _end(self, gone: list[int]) -> None:
        verb, pronoun = ('answers', 'it') if len(gone) == 1 else ('answer', 'them')
        self._say(
            f'{self._name(gone)} no longer {verb}, and training cannot continue without {pronoun}; the last checkpoint '
            f'is kept: start all workers again with --continue_train.'
        )
        self._before_exit()
        os._exit(1)

    def _name(self, workers) -> str:
        return ' and '.join(self._cluster.describe(worker) for worker in sorted(workers))

    def _say(self, text: str) -> None:
        own = self._cluster.describe(self._cluster.worker)
        print(f'cyclegan_tf.train: {own}: {text}', file=sys.stderr, flush=True)

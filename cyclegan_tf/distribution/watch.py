"""A worker that dies is noticed: the others say which, and end rather than wait for it forever."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Optional

import tensorflow as tf

from cyclegan_tf.distribution.cluster import Cluster

_INTERVAL = 2.0  # seconds between looks
_LOOKS = 3  # at which a worker has to be gone one after the other; a full queue of connections passes
_PATIENCE = 30.0  # seconds in which a look has to explain TensorFlow's error
_REMINDER = 20.0  # seconds between lines about workers that have not come yet

# What TensorFlow raises where another worker has gone in the middle of a sum over all.
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
    """Looks at the other workers from a thread while the context lasts; ends the process when one has gone.

    The main thread then waits inside of TensorFlow, where no exception reaches it. `end` ends the watch: all
    workers have to be done by then. So does a context that ends, for whatever reason.

    Args:
        cluster: the workers; None, or one of one worker, is not watched.
        before_exit: called when the process is to end.
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
            self._thread.join(_PATIENCE)  # it ends the process with a sentence, if that is the reason
        self.end()

    def end(self) -> None:
        """From here on a worker that goes is not missed."""
        self._done.set()

    def _run(self) -> None:
        cluster = self._cluster
        come: set[int] = set()  # workers that were there once; the others may still be starting
        looks_without: dict[int, int] = {}
        reminded = time.monotonic()
        while not self._done.wait(_INTERVAL):
            missing = set(cluster.unreachable())
            come |= set(range(cluster.workers)) - missing
            looks_without = {worker: looks_without.get(worker, 0) + 1 for worker in missing & come}
            gone = [worker for worker, looks in looks_without.items() if looks >= _LOOKS]
            if gone and not self._done.is_set():
                self._end(gone)
            late = missing - come
            if late and time.monotonic() - reminded > _REMINDER:
                reminded = time.monotonic()
                self._say(f'waiting for {self._name(late)}.')

    def _end(self, gone: list[int]) -> None:
        verb, pronoun = ('answers', 'it') if len(gone) == 1 else ('answer', 'them')
        self._say(
            f'{self._name(gone)} no longer {verb}, and training cannot go on without {pronoun}; the last checkpoint '
            f'stays: start all workers again with --continue_train.'
        )
        self._before_exit()
        os._exit(1)

    def _name(self, workers) -> str:
        return ' and '.join(self._cluster.describe(worker) for worker in sorted(workers))

    def _say(self, text: str) -> None:
        own = self._cluster.describe(self._cluster.worker)
        print(f'cyclegan_tf.train: {own}: {text}', file=sys.stderr, flush=True)

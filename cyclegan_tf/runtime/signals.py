"""SIGTERM and SIGINT: the first one asks to stop in good order, the second one stops at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Optional

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Held as a context, from the main thread; from another thread it changes nothing, since Python forbids that.

    Args:
        at_once: what is done before the process ends at once; from another thread.

    Attributes:
        number: the signal that asked to stop, after `defer`; None so far.
    """

    def __init__(self, at_once: Callable[[], None] = lambda: None):
        self._at_once = at_once
        self.number: Optional[int] = None
        self._is_deferred = False

    def __enter__(self) -> StopSignals:
        self._catches = threading.current_thread() is threading.main_thread()
        if not self._catches:
            return self
        # A Python handler runs in the main thread between two of Python's own instructions: not while TensorFlow
        # compiles or a step takes long. The kernel's handler writes each signal's number here at once.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._old_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old_handlers = {number: signal.signal(number, self._note) for number in _NUMBERS}
        self._watcher = threading.Thread(target=self._watch, name='stop-signals', daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_) -> None:
        if not self._catches:
            return
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_descriptor)
        self._writer.close()
        self._watcher.join()
        self._reader.close()

    def renew(self) -> None:
        """Again in place of TensorFlow's own handler of SIGTERM, which a strategy over several machines brings."""
        if self._catches:
            for number in _NUMBERS:
                signal.signal(number, self._note)

    def defer(self) -> None:
        """From now on the first signal is only noted, in `number`; before, it stops at once: no work would be lost."""
        self._is_deferred = True

    def end_deferral(self) -> None:
        """A signal stops at once again; unless one has come already, and is being followed."""
        self._is_deferred = self.number is not None

    def _note(self, number, frame) -> None:
        if self._is_deferred and self.number is None:
            self.number = number

    def _watch(self) -> None:
        came = 0
        while received := self._reader.recv(64):
            for number in received:
                if number not in _NUMBERS:
                    continue  # another handler's of this process
                came += 1
                if came > 1 or not self._is_deferred:
                    self._at_once()
                    os._exit(128 + number)

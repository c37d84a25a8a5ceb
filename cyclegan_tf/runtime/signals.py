"""SIGTERM, SIGINT and SIGHUP: in training, the first one asks for an orderly stop, the second one stops the program
immediately; in other programs, the first two end it as Ctrl+C does."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Optional

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interruption(KeyboardInterrupt):
    """SIGTERM or SIGHUP where they end the program as Ctrl+C does; runtime.program makes the exit status of it.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def interrupt() -> None:
    """From now on, SIGTERM and SIGHUP are raised as an Interruption in the main thread, so that what is half written is
    deleted on the way out. A signal that is ignored, as SIGHUP with nohup, or that has a handler keeps that. Does
    nothing outside the main thread, where Python forbids handlers."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise_interruption)


def _raise_interruption(number, frame) -> None:
    raise Interruption(number)


class StopSignals:
    """A context that handles these signals. It does nothing outside the main thread, where Python forbids handlers.

    SIGHUP stays ignored if it is when the program starts, as with nohup; and it counts once, since a shell and the
    kernel both send it when a terminal is closed.

    Args:
        at_once: called, in another thread, before the process is ended immediately.

    Attributes:
        number: the signal that asked to stop, after `defer`; None if there was none.
    """

    def __init__(self, at_once: Callable[[], None] = lambda: None):
        self._at_once = at_once
        self.number: Optional[int] = None
        self._is_deferred = False

    def __enter__(self) -> StopSignals:
        self._catches = threading.current_thread() is threading.main_thread()
        if not self._catches:
            return self
        # Python runs handlers in the main thread between two of its own instructions, and so not while TensorFlow
        # compiles or runs a long step. The handler in C, however, writes each signal's number to this socket
        # immediately.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._old_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._numbers = [number for number in _NUMBERS if not (ignores_hangup and number == signal.SIGHUP)]
        self._old_handlers = {number: signal.signal(number, self._note) for number in self._numbers}
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
        """Replaces TensorFlow's own handler of SIGTERM, which a strategy over several machines installs."""
        if self._catches:
            for number in self._numbers:
                signal.signal(number, self._note)

    def defer(self) -> None:
        """From now on, the first signal is only recorded in `number`. Before, a signal stops the program immediately,
        since no work is lost."""
        self._is_deferred = True

    def end_deferral(self) -> None:
        """From now on, a signal stops the program immediately again, unless one has been recorded and is acted on."""
        self._is_deferred = self.number is not None

    def _note(self, number, frame) -> None:
        if self._is_deferred and self.number is None:
            self.number = number

    def _watch(self) -> None:
        received_count, hung_up = 0, False
        while received := self._reader.recv(64):
            for number in received:
                if number not in self._numbers:
                    continue  # another handler in this process deals with it
                received_count += not (hung_up and number == signal.SIGHUP)
                hung_up = hung_up or number == signal.SIGHUP
                if received_count > 1 or not self._is_deferred:
                    self._at_once()
                    os._exit(128 + number)

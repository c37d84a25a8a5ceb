"""One process at a time trains in a run's directory."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import socket
import time
from typing import Optional

from cyclegan_tf.errors import UserError

NAME = '.lock'  # in the run's directory


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that a lock file names.

    Attributes:
        host: its machine.
        process: its number there.
        birth: which start of that number it is, from the kernel; empty where the kernel does not tell.
        since: when it took the lock, for people.
    """

    host: str
    process: int
    birth: str
    since: str

    def __str__(self):
        return f'process {self.process} on {self.host}, since {self.since}'


class RunLock:
    """Held as a context. Programs that only read a run take none.

    Args:
        run_directory: exists and can be written.

    Attributes:
        taken_over: after entering: the process that left the lock behind and is gone, or None.
    """

    def __init__(self, run_directory: pathlib.Path):
        self._directory, self._path = run_directory, run_directory / NAME
        self._own: Optional[Holder] = None
        self.taken_over: Optional[Holder] = None

    def __enter__(self) -> RunLock:
        """Takes the lock.

        Raises:
            UserError: another process has it, or one on another machine, of which cannot be known if it still runs.
        """
        own = Holder(socket.gethostname(), os.getpid(), _birth(os.getpid()), time.strftime('%Y-%m-%d %H:%M:%S'))
        with _alone(self._directory):
            holder = self._read()
            if holder is not None:
                self._refuse_if_alive(holder)
            partial = self._path.with_name(f'{NAME}.part')
            partial.write_text(json.dumps(dataclasses.asdict(own)) + '\n')
            partial.replace(self._path)
        self._own, self.taken_over = own, holder
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def release(self) -> None:
        """Gives the lock back, if it is still this process's; may be called again, and from another thread."""
        own, self._own = self._own, None
        if own is None or not self._directory.is_dir():  # removed while training: nothing is left to lock
            return
        # Where nothing can be written any more it stays, and is taken over, as after a kill.
        with contextlib.suppress(OSError), _alone(self._directory):
            if self._read() == own:
                self._path.unlink()

    def _read(self) -> Optional[Holder]:
        try:
            return Holder(**json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise UserError(
                f"'{self._path}' says not who trains this run ({error}); if nobody does, delete it."
            ) from error

    def _refuse_if_alive(self, holder: Holder) -> None:
        if holder.host != socket.gethostname():
            raise UserError(
                f"run '{self._directory}' is in use by {holder}; wait for it, set another --name, or, if that process "
                f"is no more, delete '{self._path}'."
            )
        if _is_alive(holder):
            raise UserError(
                f"run '{self._directory}' is in use by {holder}; wait for it or stop it, or set another --name."
            )


class _alone:
    """No other process of this machine looks at or changes the lock file meanwhile.

    Without it, of two that find the same lock left behind the slower would take away the faster one's. The kernel ends
    it with the process.
    """

    def __init__(self, directory: pathlib.Path):
        self._directory = directory

    def __enter__(self):
        self._descriptor = os.open(self._directory, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_):
        os.close(self._descriptor)


def _birth(process: int) -> str:
    """What tells this start of a process number from others: the boot and the kernel's clock then."""
    try:
        boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        status = pathlib.Path(f'/proc/{process}/stat').read_text()
    except OSError:
        return ''  # another system than Linux, or no such process
    # Field 22, counted from behind the name, which may hold spaces and parentheses; see proc(5).
    return f'{boot} {status.rpartition(")")[2].split()[19]}'


def _is_alive(holder: Holder) -> bool:
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return _birth(holder.process) == holder.birth

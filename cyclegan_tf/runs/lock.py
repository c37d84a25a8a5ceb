"""One process at a time trains in a run's directory.

It holds the kernel's flock on the lock file, which ends with the process however that ends. The file names it: for
people, and for those to whom flock tells nothing, as to another machine, or on a file system without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import socket
import time
from typing import Optional

import filelock

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.files import whole_file

NAME = '.lock'  # in the run's directory

# What flock fails with on file systems that have none: Lustre without -o flock, NFS without its lock service, some of
# FUSE's.
_NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)

_PATIENCE = 0.2  # seconds for a process that gives the lock back meanwhile
_SETTLE = 1.0  # seconds that are longer than a process takes from reading the file to writing it
_LARGEST = 2**16  # bytes; a lock file has some 200


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that a lock file names.

    Attributes:
        host: its machine.
        process: its number there.
        birth: which start of that number it is, from the kernel; empty where the kernel does not tell.
        since: when it took the lock, for people.
        flock: whether it has flock; not in files of earlier versions, which had it only while they looked.
    """

    host: str
    process: int
    birth: str
    since: str
    flock: bool = False

    def __str__(self):
        return f'process {self.process} on {self.host}, since {self.since}'

    def text(self) -> str:
        """The lock file's."""
        return json.dumps(dataclasses.asdict(self)) + '\n'


class RunLock:
    """Held as a context. Programs that only read a run take none.

    Args:
        run_directory: exists and can be written.

    Attributes:
        taken_over: after entering: the process that left the lock behind and is gone, or None.
        warning: after entering: one line about a file system without flock, or None.
    """

    def __init__(self, run_directory: pathlib.Path):
        self._directory, self._path = run_directory, run_directory / NAME
        # thread_local: it is given back from other threads too.
        self._flock = filelock.UnixFileLock(
            self._path, timeout=_PATIENCE, thread_local=False, fallback_to_soft=False, on_acquired=self._take
        )
        self._own: Optional[Holder] = None
        self.taken_over: Optional[Holder] = None
        self.warning: Optional[str] = None

    def __enter__(self) -> RunLock:
        """Takes the lock.

        Raises:
            UserError: another process has it, or one on another machine, of which cannot be known if it still runs.
        """
        while self._own is None:
            try:
                self._flock.acquire()  # calls _take
            except filelock.Timeout:
                raise self._in_use(self._holder_if_told()) from None
            except OSError as error:
                if error.errno not in _NO_FLOCK:
                    raise UserError(
                        f"'{self._path}' cannot be locked ({error.strerror}); mend that, or, if nobody trains this "
                        f'run, delete it.'
                    ) from error
                self.warning = (
                    f"Warning: the file system of '{self._directory}' has no flock ({error.strerror}); whether another "
                    f'process trains this run is told by machine, process and start in {NAME} alone.'
                )
                self._take_without_flock()
            else:
                if self._own is None:  # given back between opening it and flock; another may be in its place
                    self._flock.release()
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def release(self) -> None:
        """Gives the lock back, if it is still this process's; may be called again, and from another thread."""
        own, self._own = self._own, None
        if own is None:
            return
        # Where nothing can be written any more it stays, and is taken over, as after a kill; and where the directory
        # was removed, nothing is left to lock.
        with contextlib.suppress(OSError):
            if self._path.read_bytes() == own.text().encode():
                self._path.unlink()  # first: nobody is to find it without flock
        with contextlib.suppress(OSError):
            self._flock.release()

    def _take(self, descriptor: int) -> None:
        """With flock on this open file: writes who holds it, unless it is the lock no more.

        Raises:
            UserError: a process that may still run is named there; or nothing can be written.
        """
        try:
            if not _is_at(self._path, descriptor):
                return
            holder = self._parse(os.pread(descriptor, _LARGEST, 0))
            # Who had flock has it no more. An earlier version never did, nor who found none.
            if holder is not None and not (holder.flock and holder.host == socket.gethostname()):
                self._refuse_if_alive(holder)
            own = _this_process(flock=True)
            # Not by another file in its place, which would be without flock.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, own.text().encode(), 0)
            os.fsync(descriptor)  # else other machines would not see it
        except OSError as error:  # which is none of flock's
            raise UserError(
                f"'{self._path}' cannot be written ({error.strerror}); mend that, or set another --name."
            ) from error
        self._own, self.taken_over = own, holder

    def _take_without_flock(self) -> None:
        """Writes who holds the lock, where the file alone tells.

        Raises:
            UserError: a process that may still run is named there, or has come at the same time.
        """
        holder = self._read()
        if holder is not None:
            self._refuse_if_alive(holder)
        own = _this_process(flock=False)
        with whole_file(self._path) as partial:
            partial.write_text(own.text())
        # Of those that came before one of them was named, the last one's name stays.
        time.sleep(_SETTLE)
        last = self._read()
        if last != own:
            raise self._in_use(last)
        self._own, self.taken_over = own, holder

    def _read(self) -> Optional[Holder]:
        try:
            return self._parse(self._path.read_bytes())
        except FileNotFoundError:
            return None

    def _parse(self, text: bytes) -> Optional[Holder]:
        if not text:
            return None  # just made; or its maker was killed before it could write
        try:
            return Holder(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"'{self._path}' says not who trains this run ({error}); if nobody does, delete it."
            ) from error

    def _holder_if_told(self) -> Optional[Holder]:
        """Of a lock that is held; its file may be just being written, or not be readable on another machine."""
        try:
            return self._read()
        except (UserError, OSError):
            return None

    def _refuse_if_alive(self, holder: Holder) -> None:
        if holder.host != socket.gethostname():
            raise UserError(
                f"run '{self._directory}' is in use by {holder}; wait for it, set another --name, or, if that process "
                f"is no more, delete '{self._path}'."
            )
        if _is_alive(holder):
            raise self._in_use(holder)

    def _in_use(self, holder: Optional[Holder]) -> UserError:
        return UserError(
            f"run '{self._directory}' is in use by {holder or 'another process'}; wait for it or stop it, or set "
            f'another --name.'
        )


def _this_process(flock: bool) -> Holder:
    now = time.strftime('%Y-%m-%d %H:%M:%S')
    return Holder(socket.gethostname(), os.getpid(), _birth(os.getpid()), now, flock)


def _is_at(path: pathlib.Path, descriptor: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
    return _birth(holder.process) in ('', holder.birth)  # '': hidden from this user

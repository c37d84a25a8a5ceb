"""One process at a time trains in a run's directory.

The process holds the kernel's flock on the lock file, which ends with the process, however that ends. The file names
the process: for people, and for cases in which flock says nothing, such as another machine or a file system without it.
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

# The errors of flock on file systems that do not have it: Lustre without -o flock, NFS without its lock service, some
# file systems by FUSE.
_NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)

_PATIENCE = 0.2  # seconds to wait for a process that is just releasing the lock
_SETTLE = 1.0  # seconds; more than a process needs between reading the file and writing it
_LARGEST = 2**16  # bytes; a lock file has about 200


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that a lock file names.

    Attributes:
        host: its machine.
        process: its number there.
        birth: which start of that number it is, from the kernel; empty where the kernel does not tell.
        since: when it took the lock, for people.
        flock: whether it holds flock. Earlier versions, whose files lack this, held flock only while they looked.
    """

    host: str
    process: int
    birth: str
    since: str
    flock: bool = False

    def __str__(self):
        return f'process {self.process} on {self.host}, since {self.since}'

    def text(self) -> str:
        """The text of the lock file."""
        return json.dumps(dataclasses.asdict(self)) + '\n'


class RunLock:
    """The lock of a run, held as a context. Programs that only read a run do not need it.

    Args:
        run_directory: exists and can be written.

    Attributes:
        taken_over: after entering: the process that left the lock behind and is gone, or None.
        warning: after entering: one line about a file system without flock, or None.
    """

    def __init__(self, run_directory: pathlib.Path):
        self._directory, self._path = run_directory, run_directory / NAME
        # Not thread_local, since other threads release it, too.
        self._flock = filelock.UnixFileLock(
            self._path, timeout=_PATIENCE, thread_local=False, fallback_to_soft=False, on_acquired=self._take
        )
        self._own: Optional[Holder] = None
        self.taken_over: Optional[Holder] = None
        self.warning: Optional[str] = None

    def __enter__(self) -> RunLock:
        """Takes the lock.

        Raises:
            UserError: another process holds it, or is named by it on another machine, where it may still run.
        """
        while self._own is None:
            try:
                self._flock.acquire()  # calls _take
            except filelock.Timeout:
                raise self._in_use(self._holder_if_known()) from None
            except OSError as error:
                if error.errno not in _NO_FLOCK:
                    raise UserError(
                        f"'{self._path}' cannot be locked ({error.strerror}); correct that, or, if no process "
                        f'trains this run, delete it.'
                    ) from error
                self.warning = (
                    f"Warning: the file system of '{self._directory}' has no flock ({error.strerror}), so only the "
                    f'machine, process and start time in {NAME} tell whether another process trains this run.'
                )
                self._take_without_flock()
            else:
                if self._own is None:  # released between our open and flock; another file may be in its place
                    self._flock.release()
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def release(self) -> None:
        """Releases the lock, if this process still holds it; may be called again, and from another thread."""
        own, self._own = self._own, None
        if own is None:
            return
        # If nothing can be written any more, the file stays and is taken over, as after a kill. If the directory was
        # removed, nothing is left to release.
        with contextlib.suppress(OSError):
            if self._path.read_bytes() == own.text().encode():
                self._path.unlink()  # first, so that nobody finds the file without flock
        with contextlib.suppress(OSError):
            self._flock.release()

    def _take(self, descriptor: int) -> None:
        """Writes this process's name into the open file, which it has locked by flock, if that is still the lock file.

        Raises:
            UserError: the file names a process that may still run; or it cannot be written.
        """
        try:
            if not _is_at(self._path, descriptor):
                return
            holder = self._parse(os.pread(descriptor, _LARGEST, 0))
            # A process of this machine that held flock has ended. Earlier versions, and processes that found no flock,
            # never held it.
            if holder is not None and not (holder.flock and holder.host == socket.gethostname()):
                self._refuse_if_alive(holder)
            own = _this_process(flock=True)
            # In this file, since a new one in its place would not be locked by flock.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, own.text().encode(), 0)
            os.fsync(descriptor)  # else other machines would not see it
        except OSError as error:  # not from flock, whose errors are handled by the caller
            raise UserError(
                f"'{self._path}' cannot be written ({error.strerror}); correct that, or set another --name."
            ) from error
        self._own, self.taken_over = own, holder

    def _take_without_flock(self) -> None:
        """Writes this process's name into the file, which alone decides where there is no flock.

        Raises:
            UserError: the file names a process that may still run; or another process came at the same time.
        """
        holder = self._read()
        if holder is not None:
            self._refuse_if_alive(holder)
        own = _this_process(flock=False)
        with whole_file(self._path) as partial:
            partial.write_text(own.text())
        # Of several processes that found no holder, the last one's name remains.
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
            return None  # just created; or the process that created it was killed before it could write
        try:
            return Holder(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"'{self._path}' does not name the process that trains this run ({error}); if none does, delete it."
            ) from error

    def _holder_if_known(self) -> Optional[Holder]:
        """The holder of a lock that is held; None while the file is being written, or if it cannot be read."""
        try:
            return self._read()
        except (UserError, OSError):
            return None

    def _refuse_if_alive(self, holder: Holder) -> None:
        if holder.host != socket.gethostname():
            raise UserError(
                f"run '{self._directory}' is in use by {holder}; wait for it, set another --name, or, if that process "
                f"no longer exists, delete '{self._path}'."
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
    """What tells a process from others with the same number: the boot of the machine and the process's start time."""
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

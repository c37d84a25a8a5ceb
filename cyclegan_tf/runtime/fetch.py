"""Downloads a file into the cache with pooch, and continues where an earlier attempt was broken off."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import filelock
import urllib3

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.files import make_folder, write_json

_CONNECT, _READ = 10.0, 30.0  # seconds of silence after which a connection is broken off
_CHUNK = 1 << 16  # bytes
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds before the first new attempt, which double, and at most
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses of a server that may answer later

# Ending of a file -> what its first bytes are; a tar file shows what it is further behind.
_BEGINNINGS = {
    '.pth': (b'PK\x03\x04', b'\x80'),  # PyTorch's zip, and the pickle of its versions before 1.6
    '.zip': (b'PK\x03\x04',),
    '.gz': (b'\x1f\x8b',),
}
_HEAD = 512  # bytes that are enough for these
_TAR_MARK = 257, b'ustar'  # where it is in the first header, and what


def import_pooch() -> Any:
    """Imports pooch, which only downloads need; raises UserError if it is not installed."""
    try:
        import pooch
    except ImportError as error:
        raise UserError(
            "pooch is not installed, but is needed to download files; install cyclegan_tf's extra 'download': "
            "pip install '.[download]'."
        ) from error
    pooch.get_logger().setLevel('ERROR')  # it would print what is printed here
    return pooch


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A file in the cache.

    Attributes:
        path: of the file.
        address: where it came from.
    """

    path: pathlib.Path
    address: str

    def forget(self) -> None:
        """Deletes it and what is remembered of it, so that the next time it is downloaded anew."""
        self.path.unlink(missing_ok=True)
        _record(self.path).unlink(missing_ok=True)


def fetch(
    path: str,
    mirror: str,
    cache_dir: Optional[str] = None,
    retries: int = 4,
    remedy: str = 'set another --mirror',
) -> Fetched:
    """Downloads a file, unless the cache has it.

    For files without a published checksum, that of the first download is remembered beside the file, and holds from
    then on, for the file in the cache and for any that is downloaded again.

    Args:
        path: of the file on the host, and in the cache.
        mirror: the host's address.
        cache_dir: folder of the cache; None: cyclegan_tf in the user's.
        retries: attempts that may fail in a row without bringing a new byte.
        remedy: what can be done where the address has not the file, for messages.

    Raises:
        UserError: pooch is not installed; there is no such file, or another than was expected; the connection failed
            too often; or the cache cannot be written.
    """
    pooch = import_pooch()
    root = pathlib.Path(os.path.expanduser(cache_dir if cache_dir is not None else pooch.os_cache('cyclegan_tf')))
    target, address = root / path, f'{mirror.rstrip("/")}/{path}'
    make_folder('cache_dir', cache_dir or str(root), target.parent)
    known = _remembered(target)
    cached = target.exists()
    cache = pooch.create(root, mirror, registry={path: known}, allow_updates=False)
    download = ResumableDownload(target, retries, remedy)
    with _alone(target):
        try:
            cache.fetch(path, downloader=download)
        except UserError:
            raise
        except ValueError as error:
            if known is None:  # otherwise it is pooch's, for another checksum
                raise
            if cached:
                raise UserError(
                    f"'{target}' is no longer the file that was downloaded from {address} (its checksum is another); "
                    f'delete it to download it again.'
                ) from error
            raise UserError(
                f'{address} has another file than when it was first downloaded (its checksum is not that in '
                f"'{_record(target)}'); delete that file if you trust the new one, or {remedy}."
            ) from error
        except OSError as error:
            raise UserError(
                f"`cache_dir` ('{root}') cannot be written ({error.strerror or error}); make room or set it to another "
                f'folder.'
            ) from error
        if known is None:
            checksum = pooch.file_hash(str(target))
            write_json(_record(target), {'sha256': checksum, 'address': address, 'bytes': target.stat().st_size})
    if cached:
        print(f'Already downloaded: {target}', flush=True)
    return Fetched(target, address)


class ResumableDownload:
    """A downloader for pooch, which continues what an earlier one has left beside the file.

    What has arrived is in FILE.part, and FILE.part.json says what it is a part of. Only with a mark of the server for
    this very version of the file (an ETag, or its time) is the rest asked for; a server that has another version now,
    or that cannot send a part, sends all of it.

    Args:
        target: the file in the cache, which pooch makes of what is downloaded.
        retries, remedy: see fetch.
    """

    def __init__(self, target: pathlib.Path, retries: int, remedy: str):
        self._part = target.with_name(target.name + '.part')
        self._state = target.with_name(target.name + '.part.json')
        self._retries, self._remedy = retries, remedy

    def __call__(self, address: str, output_file: str, pooch: Any) -> None:
        """Downloads; raises UserError if that is not possible. `pooch` is what pooch hands to its downloaders."""
        left, wait, most = self._retries, _FIRST_WAIT, self._size()
        with _client(address) as client:
            while True:
                try:
                    self._attempt(client, address)
                    break
                except _BrokenOff as error:
                    size = self._size()
                    if size > most:
                        left, wait, most = self._retries, _FIRST_WAIT, size
                    if not left:
                        raise UserError(
                            f'{address} could not be downloaded ({error}); check the connection, then start again, '
                            f'which continues at {describe_size(size)}, or {self._remedy}.'
                        ) from error.__cause__
                    left -= 1
                    print(f'Broken off ({error}); trying again in {wait:.0f} s.', flush=True)
                    time.sleep(wait)
                    wait = min(2 * wait, _LONGEST_WAIT)
        os.replace(self._part, output_file)
        self._state.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _known(self, address: str) -> dict[str, Any]:
        """What FILE.part is a part of: 'validator' and 'total'; empty if there is no part that can be continued."""
        try:
            state = json.loads(self._state.read_text(encoding='utf-8'))
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(state, dict) or state.get('address') != address or not state.get('validator'):
            return {}
        return state if self._size() else {}

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def _attempt(self, client: urllib3.PoolManager, address: str) -> None:
        """Asks for the file, or for what is missing of it, and adds what comes.

        Raises:
            _BrokenOff: not all has come, and another attempt may bring the rest.
            UserError: another attempt would end the same.
        """
        known = self._known(address)
        size = self._size() if known else 0
        if known and size == known['total']:
            return  # broken off between the last byte and the end
        headers = {'Accept-Encoding': 'identity'}  # the file's own bytes, which a part can be counted in
        if size:
            headers.update({'Range': f'bytes={size}-', 'If-Range': known['validator']})
        with _broken_off(), _asked(client, address, headers) as response:
            if response.status == 206 and size and _continues(response, size, known):
                self._receive(response, address, size, known['total'])
            elif response.status == 200:
                total = -1 if response.length_remaining is None else response.length_remaining
                state = {'address': address, 'validator': _validator(response), 'total': total}
                self._discard()
                write_json(self._state, state)
                self._receive(response, address, 0, total)
            elif response.status in (206, 416):
                self._discard()
                raise _BrokenOff('the file has changed, so it begins anew')
            elif response.status in _PASSING:
                raise _BrokenOff(f'status {response.status}, {response.reason}')
            else:
                raise UserError(
                    f'{address} is refused by the server (status {response.status}, {response.reason}); check the '
                    f'address in a browser, or {self._remedy}.'
                )

    def _receive(self, response: urllib3.BaseHTTPResponse, address: str, size: int, total: int) -> None:
        """Adds what comes to FILE.part, which has `size` of `total` bytes (-1: unknown)."""
        what = describe_size(total) if total >= 0 else 'of unknown size'
        done = f', continuing at {describe_size(size)}' if size else ''
        print(f'Downloading {address} ({what}{done})', flush=True)
        bar = progress_bar(
            None, address.rpartition('/')[2], total if total >= 0 else None, unit='B', initial=size, scaled=True
        )
        checked = size >= _HEAD
        with bar, open(self._part, 'ab') as file:
            for chunk in response.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                size += len(chunk)
                bar.update(len(chunk))
                if not checked and size >= _HEAD:
                    file.flush()
                    self._check_beginning(response, address)
                    checked = True
        if total >= 0 and size != total:
            raise _BrokenOff(f'{describe_size(size)} of {describe_size(total)} came')
        if not checked:
            self._check_beginning(response, address)

    def _check_beginning(self, response: urllib3.BaseHTTPResponse, address: str) -> None:
        """Raises UserError for what is not such a file, as the page that a server or a network shows in its place."""
        ending = os.path.splitext(address)[1]
        with open(self._part, 'rb') as file:
            head = file.read(_HEAD)
        at, mark = _TAR_MARK
        fits = head.startswith(_BEGINNINGS[ending]) if ending in _BEGINNINGS else head[at:].startswith(mark)
        if fits and not response.headers.get('Content-Type', '').startswith('text/html'):
            return
        self._discard()
        begins = f'begins with {" ".join(head[:60].decode("utf-8", "replace").split())[:40]!r}' if head else 'is empty'
        raise UserError(
            f'{address} gives something other than a {ending} file (it {begins}); open it in a browser to see what, or '
            f'{self._remedy}.'
        )


class _BrokenOff(Exception):
    """An attempt that has not brought all, for a reason that may pass."""


@contextlib.contextmanager
def _broken_off() -> Iterator[None]:
    """Turns the errors of connections into _BrokenOff."""
    try:
        yield
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, 'reason', None) or error
        raise _BrokenOff(_in_words(reason)) from error


def _in_words(error: Exception) -> str:
    """The reason of a broken connection, without the objects that urllib3 names."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return 'the host is not known'
    # What cannot connect at all is a kind of ConnectTimeoutError there, too.
    if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(
        error, urllib3.exceptions.NewConnectionError
    ):
        return 'no answer in time'
    if isinstance(error, urllib3.exceptions.IncompleteRead) or isinstance(
        (error.args or ('',))[-1], urllib3.exceptions.IncompleteRead
    ):
        return 'the connection ended before the file did'
    return re.sub(r'^.*object at 0x\w+>,? ?:? ?|^\w*Connection\(.*?\): ', '', first_line(error))


@contextlib.contextmanager
def _asked(client: urllib3.PoolManager, address: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
    """The response to a request, whose body is not yet read; a connection with a body left in it is closed."""
    response = client.request('GET', address, headers=headers, preload_content=False)
    try:
        yield response
    finally:
        response.close()


@contextlib.contextmanager
def _client(address: str) -> Iterator[urllib3.PoolManager]:
    """What asks for files: with time limits, redirections, and the proxy of the environment."""
    settings = {
        'timeout': urllib3.Timeout(connect=_CONNECT, read=_READ),
        'retries': urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False),
    }
    try:
        parts = urllib3.util.parse_url(address)
    except urllib3.exceptions.LocationParseError as error:
        raise UserError(f"'{address}' is not an address; correct its beginning.") from error
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.host):
        client = _proxy_client(proxy, f'{parts.scheme}_proxy', settings)
    else:
        client = urllib3.PoolManager(**settings)
    with client:
        yield client


def _proxy_client(proxy: str, variable: str, settings: Mapping[str, Any]) -> urllib3.ProxyManager:
    """What asks a proxy; raises UserError if the proxy, which the environment variable names, is not one of HTTP."""
    proxy = proxy if '://' in proxy else f'http://{proxy}'  # as curl reads it
    try:
        parts = urllib3.util.parse_url(proxy)
        if not parts.host:
            raise urllib3.exceptions.LocationValueError('it names no host')
        headers = urllib3.make_headers(proxy_basic_auth=parts.auth) if parts.auth else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **settings)
    except urllib3.exceptions.LocationValueError as error:
        shown = re.sub('//.*@', '//', proxy)  # without a password
        raise UserError(
            f"The environment variable `{variable}` ('{shown}') names no proxy that can be used; set it to one that "
            f'begins with http:// or https://, or unset it.'
        ) from error


def _validator(response: urllib3.BaseHTTPResponse) -> Optional[str]:
    """What tells this version of a file from others: its strong ETag, or its time; None: nothing does."""
    tag = response.headers.get('ETag')
    return tag if tag and not tag.startswith('W/') else response.headers.get('Last-Modified')


def _continues(response: urllib3.BaseHTTPResponse, size: int, known: dict[str, Any]) -> bool:
    """Whether a partial response is the rest, from `size` on, of the version of the file that is known."""
    found = re.fullmatch(r'bytes (\d+)-(\d+)/(\d+)', response.headers.get('Content-Range', ''))
    if found is None:
        return False
    first, last, total = map(int, found.groups())
    same = _validator(response) in (None, known['validator'])  # a server need not repeat it
    return same and first == size and last == total - 1 and known['total'] in (-1, total)


@contextlib.contextmanager
def _alone(target: pathlib.Path) -> Iterator[None]:
    """A context in which no other process downloads the file."""
    lock = filelock.FileLock(target.with_name(target.name + '.lock'), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(f"'{target}' is being downloaded by another process; wait for it, or stop it.") from error
    try:
        yield
    finally:
        lock.release()


def _record(path: pathlib.Path) -> pathlib.Path:
    """The file beside a file of the cache that remembers its checksum."""
    return path.with_name(path.name + '.json')


def _remembered(path: pathlib.Path) -> Optional[str]:
    """The SHA-256 of a file when it was first downloaded; None if that has not been.

    Raises:
        UserError: what is remembered is damaged.
    """
    try:
        return json.loads(_record(path).read_text(encoding='utf-8'))['sha256']
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"'{_record(path)}' is damaged; delete it, and '{path}' if it is there.") from error


def describe_size(count: int) -> str:
    """Bytes in words: '45.3 MB'."""
    for unit in ('bytes', 'kB', 'MB'):
        if count < 1000:
            return f'{count:.3g} {unit}' if unit != 'bytes' else f'{count} bytes'
        count /= 1000
    return f'{count:.3g} GB'

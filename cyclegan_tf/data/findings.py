"""What the check of an image found, and the file in the cache folder that remembers it until the image changes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import threading
from typing import Any, Optional

from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.pictures import Header
from cyclegan_tf.runtime.files import write_whole

_VERSION = 4  # of the file; raise it when the checks or its format change
_OTHERS = 100_000  # images that a source no longer has, of which the findings are kept


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the check of an image found.

    Attributes:
        header: its header; None if it cannot be used.
        problem: the reason why it cannot be used, or None.
        digest: of its content.
        decoded: whether it has been decoded since it last changed, without a problem.
    """

    header: Optional[Header]
    problem: Optional[str]
    digest: str
    decoded: bool = False


class StoredFindings:
    """The findings of a source's images by their stamps, in one file for each source and way to read it.

    Images with problems are not remembered: a permission may have been given since, or a link repaired.

    Args:
        source: the images.
        directory: the cache folder; None: there is no file, and nothing is remembered.
    """

    def __init__(self, source: Source, directory: Optional[str]):
        # A name that is no text in the locale's encoding has surrogates.
        name = f'{source.where} {source.half} {source.options}'.encode(errors='surrogateescape')
        digest = hashlib.sha256(name).hexdigest()[:24]
        self._path = None if directory is None else pathlib.Path(directory) / 'headers' / f'{digest}.json'
        self._most = max(_OTHERS, len(source))
        self._headers: list[Header] = []  # each once: most images of a folder have the same
        self._number: dict[Header, int] = {}
        self._known: dict[str, list] = {}  # stamp -> number of its header, digest, decoded
        self._seen: dict[str, None] = {}
        self._changed = False
        self._lock = threading.Lock()
        stored = self._load()
        if stored is not None:
            self._headers = [_header(values) for values in stored['headers']]
            self._number = {header: number for number, header in enumerate(self._headers)}
            self._known = stored['findings']

    def _load(self) -> Optional[dict[str, Any]]:
        if self._path is None:
            return None
        try:
            stored = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # truncated by an older version, which did not write it atomically; it is written again
        return stored if stored['version'] == _VERSION else None

    def get(self, stamp: str) -> Optional[Finding]:
        """The finding of the image with this stamp; None if it is not known."""
        known = self._known.get(stamp)
        if known is None:
            return None
        self._seen[stamp] = None
        number, digest, decoded = known
        return Finding(self._headers[number], None, digest, bool(decoded))

    def put(self, stamp: str, finding: Finding) -> None:
        """Remembers a finding, unless it is a problem. Threads may do so at the same time as others get findings."""
        if finding.problem is not None:
            return
        with self._lock:
            number = self._number.setdefault(finding.header, len(self._headers))
            if number == len(self._headers):
                self._headers.append(finding.header)
        self._known[stamp] = [number, finding.digest, int(finding.decoded)]
        self._seen[stamp] = None
        self._changed = True

    def save(self) -> None:
        """Writes the file, if anything has changed.

        Of images that were neither got nor put, such as those that a smaller max_dataset_size leaves out, and former
        versions of changed ones, only a limited number remains, so that the file does not grow with every change.

        Raises:
            OSError: it cannot be written.
        """
        if not self._changed or self._path is None:
            return
        others = [stamp for stamp in self._known if stamp not in self._seen][-self._most :]
        findings = {stamp: self._known[stamp] for stamp in (*others, *self._seen)}
        number_of = {old: new for new, old in enumerate(dict.fromkeys(number for number, *_ in findings.values()))}
        stored = {
            'version': _VERSION,
            'headers': [dataclasses.asdict(self._headers[number]) for number in number_of],
            'findings': {stamp: [number_of[number], *rest] for stamp, (number, *rest) in findings.items()},
        }
        # Stamps of names that are no text have surrogates, which JSON escapes.
        write_whole(self._path, json.dumps(stored, separators=(',', ':')).encode())
        self._changed = False


def _header(values: dict[str, Any]) -> Header:
    return Header(**{**values, 'values': values['values'] and tuple(values['values'])})

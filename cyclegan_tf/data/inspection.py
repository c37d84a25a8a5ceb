"""The check of every image before training: sizes, channels, depth, duplicates, and which images cannot be used."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Optional

import numpy as np

from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import require_channels
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.files import write_whole
from cyclegan_tf.runtime.threads import map_ahead

_VERSION = 2  # of the stored findings; raise it when the checks change
_AHEAD = 64  # images that are read ahead, for each thread


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the check of an image found: its header, or the reason why it cannot be used; and its content's digest."""

    header: Optional[decode.Header]
    problem: Optional[str]
    digest: str


def default_cache_dir() -> str:
    """The default folder for findings and caches: cyclegan_tf in the user's cache directory."""
    return os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'cyclegan_tf')


def inspect(source: Source, threads: int, cache_dir: Optional[str] = None) -> list[Finding]:
    """Checks every image; decodes only those that checksums or end markers do not show to be complete.

    Findings are stored with the name, size and time of the image, so that only new and changed images are read again.

    Args:
        source: the images.
        threads: number of threads that read.
        cache_dir: a local directory for the findings; None: default_cache_dir().

    Returns:
        One finding for each image, in order.
    """
    stored = _StoredFindings(source, default_cache_dir() if cache_dir is None else cache_dir)

    def check(index):
        stamp = source.stamp(index)
        finding = stored.get(stamp)
        if finding is None:
            finding = _check(source, index)
            stored.put(stamp, finding)
        return finding

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        checked = map_ahead(check, range(len(source)), pool, _AHEAD * threads)
        findings = list(progress_bar(checked, f'Checking {source.where}', len(source)))
    stored.save()
    return findings


def _check(source: Source, index: int) -> Finding:
    try:
        data = source.read(index)
    except decode.BadImage as error:
        return Finding(None, str(error), '')
    digest = hashlib.sha256(data).hexdigest()
    try:
        header = source.cut_header(decode.check(data))
        if not header.width:
            return Finding(None, 'it is one pixel wide and cannot be split into halves', digest)
        return Finding(header, None, digest)
    except decode.BadImage as error:
        return Finding(None, str(error), digest)


def check_channels(findings: Sequence[Finding], channels: int) -> list[Finding]:
    """The findings, with a problem for images that cannot be converted to this number of channels."""
    return [finding if finding.problem is not None else _with_channels(finding, channels) for finding in findings]


def _with_channels(finding: Finding, channels: int) -> Finding:
    try:
        require_channels(finding.header.channels, channels)
    except decode.BadImage as error:
        return dataclasses.replace(finding, problem=str(error))
    return finding


class _StoredFindings:
    """Findings of earlier checks, in one file for each source."""

    def __init__(self, source: Source, directory: str):
        name = hashlib.sha256(f'{source.where} {source.half}'.encode()).hexdigest()[:24]
        self._path = os.path.join(directory, 'headers', f'{name}.json')
        self._known: dict[str, list] = {}
        self._changed = False
        try:
            with open(self._path, encoding='utf-8') as file:
                stored = json.load(file)
        except FileNotFoundError:
            return
        except ValueError:
            return  # truncated by an older version, which did not write it atomically; it is written again
        if stored['version'] == _VERSION:
            self._known = stored['findings']

    def get(self, stamp: str) -> Optional[Finding]:
        known = self._known.get(stamp)
        return None if known is None else Finding(decode.Header(*known[0]), None, known[1])

    def put(self, stamp: str, finding: Finding) -> None:
        # Images with problems are checked again each time: a permission may have been given, or a link repaired.
        if finding.problem is None:
            self._known[stamp] = [list(dataclasses.astuple(finding.header)), finding.digest]
            self._changed = True

    def save(self) -> None:
        if not self._changed:
            return
        write_whole(pathlib.Path(self._path), json.dumps({'version': _VERSION, 'findings': self._known}).encode())


def bad_images(source: Source, findings: Sequence[Finding]) -> list[str]:
    """One line for each image that cannot be used: its place and the reason."""
    return [f'{source.label(i)}: {finding.problem}' for i, finding in enumerate(findings) if finding.problem]


def refuse(lines: Sequence[str], total: int) -> None:
    """Raises UserError with all lines, if there are any; `total` is the number of images that were checked."""
    if lines:
        what = 'image' if total == 1 else 'images'
        raise UserError(
            f'{len(lines)} of {total} {what} cannot be used; repair them, remove them, or skip them with '
            '--on_bad_image=skip:\n' + '\n'.join(f'  {line}' for line in lines)
        )


def duplicates(a: Source, findings_a: Sequence[Finding], b: Source, findings_b: Sequence[Finding]) -> list[str]:
    """One line for each image that is in both domains, byte for byte: it teaches the networks to change nothing."""
    if a.half is not None:
        return []
    places = {finding.digest: i for i, finding in enumerate(findings_a) if finding.problem is None}
    return [
        f'{b.label(i)} is identical to {a.label(places[finding.digest])}'
        for i, finding in enumerate(findings_b)
        if finding.problem is None and finding.digest in places
    ]


def describe(findings: Sequence[Finding]) -> str:
    """The number, sizes, channels, depth and formats of the usable images, in one line."""
    headers = [finding.header for finding in findings if finding.problem is None]
    if not headers:
        return 'no usable images'
    sizes = collections.Counter((header.width, header.height) for header in headers)
    if len(sizes) == 1:
        size = '{}x{}'.format(*next(iter(sizes)))
    else:
        widths, heights = ([header[k] for header in sizes] for k in (0, 1))
        size = (
            f'{len(sizes)} sizes from {min(widths)}x{min(heights)} to {max(widths)}x{max(heights)}, median '
            f'{int(np.median([h.width for h in headers]))}x{int(np.median([h.height for h in headers]))}'
        )
    names = {1: 'gray', 2: 'gray with alpha', 3: 'colour', 4: 'colour with alpha'}
    parts = [
        f'{len(headers)} images',
        size,
        _counted(names.get(header.channels, f'{header.channels} channels') for header in headers),
        _counted(f'{header.bits} bit' for header in headers),
        _counted(header.format for header in headers),
    ]
    bad = len(findings) - len(headers)
    return ', '.join(parts) + (f'; {bad} cannot be used' if bad else '')


def _counted(values) -> str:
    """'PNG', or 'JPEG (7) and PNG (3)'."""
    counts = collections.Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return ' and '.join(f'{value} ({count})' for value, count in counts.most_common())

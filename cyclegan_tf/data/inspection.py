"""The check of every image before training: sizes, channels, depth, duplicates, and which images cannot be used."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Optional

import numpy as np

from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import require_channels
from cyclegan_tf.data.findings import Finding, StoredFindings
from cyclegan_tf.data.image_source import Source
from cyclegan_tf.data.pictures import Header
from cyclegan_tf.data.stacked import stack_headers
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.files import make_folder
from cyclegan_tf.runtime.threads import map_ahead

_AHEAD = 64  # images that are read ahead, for each thread
SAVED_AFTER = 50_000  # images that are checked anew
_TOGETHER = 1024  # images whose stamps a thread looks at in one go

# (source, indices of images) -> the stamp and the finding of each.
Elsewhere = Callable[[Source, Sequence[int]], Iterable[tuple[str, Finding]]]


def default_cache_dir() -> str:
    """The default folder for findings and caches: cyclegan_tf in the user's cache directory."""
    return os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'cyclegan_tf')


def choose_cache_dir(given: Optional[str], warn: Callable[[str], None]) -> Optional[str]:
    """The folder for findings and caches, which exists afterwards.

    Args:
        given: the value of --cache_dir; None: default_cache_dir(), if that can be written.
        warn: called with a line if it cannot.

    Returns:
        The folder; None if there is none, and nothing is remembered.

    Raises:
        UserError: the given folder cannot be written.
    """
    if given is not None:
        make_folder('cache_dir', given, pathlib.Path(given))
        return given
    default = default_cache_dir()
    try:
        make_folder('cache_dir', default, pathlib.Path(default))
    except UserError as error:
        cause = error.__cause__.strerror
        warn(
            f"Warning: '{default}' cannot be written ({cause}), so nothing is remembered of images that are checked or "
            f'decoded; set --cache_dir to a folder that can be written.'
        )
        return None
    return default


def inspect(
    source: Source, threads: int, cache_dir: Optional[str] = None, check_elsewhere: Optional[Elsewhere] = None
) -> list[Finding]:
    """Checks every image; decodes only those that checksums or end markers do not show to be complete, or that have
    more than 8 bits.

    Findings are stored with the name, size and time of the image, so that only new and changed images are read again.

    Args:
        source: the images.
        threads: number of threads that read.
        cache_dir: a local directory for the findings; None: they are not stored.
        check_elsewhere: what checks the images of which nothing is known, instead of this process; it shows its
            progress itself.

    Returns:
        One finding for each image, in order. Of an image that is stacked from several, every one is checked.
    """
    if source.parts:
        of_parts = [inspect(part, threads, cache_dir, check_elsewhere) for part in source.parts]
        return [_stacked(source, i, findings) for i, findings in enumerate(zip(*of_parts))]
    stored = StoredFindings(source, cache_dir)
    findings: list[Optional[Finding]] = [None] * len(source)

    def remembered(start):
        return [stored.get(source.stamp(i)) for i in range(start, min(start + _TOGETHER, len(source)))]

    with (
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
        progress_bar(None, f'Checking {source.where}', len(source), shown=check_elsewhere is None) as bar,
    ):
        starts = range(0, len(source), _TOGETHER)
        for start, found in zip(starts, map_ahead(remembered, starts, pool, _AHEAD)):
            findings[start : start + len(found)] = found
            bar.update(sum(finding is not None for finding in found))
        unknown = [i for i, finding in enumerate(findings) if finding is None]
        if check_elsewhere is None or not unknown:
            checked = map_ahead(functools.partial(_check_stamped, source), unknown, pool, _AHEAD * threads)
        else:
            checked = check_elsewhere(source, unknown)
        for number, (index, (stamp, finding)) in enumerate(zip(unknown, checked), 1):
            stored.put(stamp, finding)
            findings[index] = finding
            bar.update()
            if number % SAVED_AFTER == 0:
                stored.save()  # for the next start, if this one is stopped
    stored.save()
    return findings


def check_each(source: Source, threads: int) -> Iterator[tuple[str, Finding]]:
    """Checks every image as `inspect` does, and stores nothing: what a process does for another one.

    Args:
        source: the images, of one file each.
        threads: number of threads that read.

    Yields:
        For each image, in order, its stamp and the finding. Those with the same header share it.
    """
    headers: dict[Header, Header] = {}
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        check = functools.partial(_check_stamped, source)
        for stamp, finding in map_ahead(check, range(len(source)), pool, _AHEAD * threads):
            if finding.header is not None:
                finding = dataclasses.replace(finding, header=headers.setdefault(finding.header, finding.header))
            yield stamp, finding


def remember_decoded(source: Source, indices: Sequence[int], cache_dir: Optional[str]) -> None:
    """Remembers, with the findings of `inspect`, that these images were decoded without a problem."""
    for part in source.parts:
        remember_decoded(part, indices, cache_dir)
    if not indices or source.parts or cache_dir is None:
        return
    stored = StoredFindings(source, cache_dir)
    for index in indices:
        stamp = source.stamp(index)
        finding = stored.get(stamp)
        if finding is not None:  # else the file has changed since it was checked
            stored.put(stamp, dataclasses.replace(finding, decoded=True))
    stored.save()


def _check_stamped(source: Source, index: int) -> tuple[str, Finding]:
    stamp = source.stamp(index)  # anew: the file may have changed since the first look
    return stamp, _check(source, index)


def _check(source: Source, index: int) -> Finding:
    try:
        data = source.read(index)
    except decode.BadImage as error:
        return Finding(None, str(error), '')
    digest = hashlib.sha256(data).hexdigest()
    try:
        whole = decode.check(data, source.options)
        header = source.cut_header(whole)
        if source.half is not None and whole.values is not None and header.width:
            half = decode.to_array(source.cut(decode.decode(data, source.options)))
            header = dataclasses.replace(header, values=(float(half.min()), float(half.max())))
        if not header.width:
            return Finding(None, 'it is one pixel wide and cannot be split into halves', digest)
        return Finding(header, None, digest)
    except decode.BadImage as error:
        return Finding(None, str(error), digest)


def _stacked(source: Source, index: int, findings: Sequence[Finding]) -> Finding:
    """The finding for an image that is stacked from those of the source's parts."""
    digest = hashlib.sha256(' '.join(finding.digest for finding in findings).encode()).hexdigest()
    for part, finding in zip(source.parts, findings):
        if finding.problem is not None:
            return Finding(None, f'{part.label(index)}: {finding.problem}', digest)
    decoded = all(finding.decoded for finding in findings)
    try:
        return Finding(stack_headers([finding.header for finding in findings], source.channels), None, digest, decoded)
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
    if a.half is not None or a.parts:
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
    parts = [
        f'{len(headers)} images',
        size,
        _counted(map(_channels_in_words, headers)),
        _counted(f'{header.bits} bit{_KINDS[header.kind]}' for header in headers),
        _counted(header.format for header in headers),
    ]
    bad = len(findings) - len(headers)
    return ', '.join(parts) + (f'; {bad} cannot be used' if bad else '')


# numpy.dtype.kind -> what to add to the number of bits.
_KINDS = {'u': '', 'i': ' signed', 'f': ' floating point'}


def _channels_in_words(header: decode.Header) -> str:
    if header.channels in (2, 4) and not header.has_alpha:
        return f'{header.channels} channels'
    names = {1: 'gray', 2: 'gray with alpha', 3: 'colour', 4: 'colour with alpha'}
    return names.get(header.channels, f'{header.channels} channels')


def notes(source: Source, findings: Sequence[Finding], flag: str = 'value_range') -> list[str]:
    """Lines about how the images are read that the user should know, beside their description.

    Args:
        source, findings: the images.
        flag: the name of the flag that sets the range of their values.
    """
    headers = {i: finding.header for i, finding in enumerate(findings) if finding.problem is None}
    lines = list(source.notes)
    noted = [i for i, header in headers.items() if header.note]
    if noted:
        others = f', and {len(noted) - 1} more like it' if len(noted) > 1 else ''
        lines.append(f'{source.label(noted[0])}: {headers[noted[0]].note}{others}.')
    known = [header.values for header in headers.values() if header.values is not None]
    if known:
        low, high = min(values[0] for values in known), max(values[1] for values in known)
        lines += _notes_on_values(source.options.value_range, low, high, flag)
    return lines


def _notes_on_values(value_range: Optional[tuple[float, float]], low: float, high: float, flag: str) -> list[str]:
    """Whether the values, from `low` to `high`, fill the range that they are given."""
    if value_range is None:
        if high >= _HARDLY_USED:
            return []
        ends = f'--{flag}=0,{2 ** max(8, int(high).bit_length()) - 1}'
        both = ' (in both domains, unless --value_range_B says otherwise)' if flag == 'value_range' else ''
        return [
            f'Values go from {low:,.0f} to {high:,.0f} of 65,535, which makes the images dark; {ends} maps these to '
            f'black and white{both}.'
        ]
    share = (min(high, value_range[1]) - max(low, value_range[0])) / (value_range[1] - value_range[0])
    found = f'Values go from {low:g} to {high:g}'
    of_range = f'the range {value_range[0]:g},{value_range[1]:g}'
    if low < value_range[0] or high > value_range[1]:
        return [f'{found}; those beyond {of_range} are clipped.']
    return [f'{found}, which is {share:.0%} of {of_range}.'] if share < _LITTLE else [f'{found}.']


_HARDLY_USED = 2**14  # a largest value of 16 bits below it suggests that fewer bits are meant
_LITTLE = 0.25  # share of a value range


def _counted(values) -> str:
    """'PNG', or 'JPEG (7) and PNG (3)'."""
    counts = collections.Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return ' and '.join(f'{value} ({count})' for value, count in counts.most_common())

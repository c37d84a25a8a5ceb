"""Work in threads whose results are used in order."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], pool: concurrent.futures.Executor, ahead: int
) -> Iterator[Result]:
    """As Executor.map, but bounded: a million images are neither read nor held in memory all at once.

    Args:
        function: called in the pool's threads.
        items: taken from the iterable one by one, in the caller's thread, when there is room for them.
        pool: the threads.
        ahead: maximum number of results, computed or in progress, beyond those that have been taken; at least 1.

    Yields:
        The results, in the order of the items.

    Raises:
        Exception: an exception from `function`, when its result is the next one.
    """
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    for item in items:
        if len(pending) >= ahead:
            yield pending.popleft().result()
        pending.append(pool.submit(function, item))
    while pending:
        yield pending.popleft().result()

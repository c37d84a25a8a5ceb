"""Output on the terminal: progress bars, or plain lines where training has no terminal; counts in words."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:  # imported where a bar is shown
    from tqdm import tqdm

Listener = Callable[[str, int, Optional[int]], None]
_listener: contextvars.ContextVar[Optional[Listener]] = contextvars.ContextVar('listener', default=None)


class Console:
    """Shows the progress of a run, in images.

    Args:
        batch_size: images per domain in a step.
        stream: output stream; standard output by default.
    """

    def __init__(self, batch_size: int, stream=None):
        self._batch_size = batch_size
        self._stream = stream or sys.stdout
        self._bar: Optional[tqdm] = None
        self._total = 0
        self._start = (0.0, 0)

    def line(self, text: str) -> None:
        """Prints a line that stays, above the bar if there is one."""
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.write(text, file=self._stream)

    def start(self, step: int, total_steps: int) -> None:
        """Begins to show progress, from a step on."""
        self._total = total_steps
        self._start = (time.monotonic(), step)
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total_steps * self._batch_size,
                initial=step * self._batch_size,
                unit=' images',
                dynamic_ncols=True,
                file=self._stream,
                smoothing=0.05,
            )

    def advance(self, step: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Moves the bar to a step; plain output shows nothing."""
        if self._bar is not None:
            self._bar.set_description(f'epoch {epoch}', refresh=False)
            self._bar.set_postfix_str(_format(losses), refresh=False)
            self._bar.update(step * self._batch_size - self._bar.n)

    def report(self, step: int, epoch: int, losses: Mapping[str, float], images_per_second: float) -> None:
        """Prints a plain line with the mean losses since the last one; a bar shows as much by itself."""
        if self._bar is None:
            elapsed, done = time.monotonic() - self._start[0], step - self._start[1]
            left = int(elapsed / max(1, done) * (self._total - step))
            clock = f'{left // 3600}:{left // 60 % 60:02}:{left % 60:02}'
            self.line(
                f'epoch {epoch}  step {step}/{self._total}  {_format(losses)}  '
                f'{images_per_second:.3g} images/s  {clock} left'
            )

    def stop(self) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _format(losses: Mapping[str, float]) -> str:
    return ' '.join(f'{name} {value:.3f}' for name, value in losses.items())


def progress_bar(
    images: Optional[Iterable] = None,
    what: str = '',
    total: Optional[int] = None,
    keep: bool = False,
    shown: bool = True,
    unit: str = 'images',
    initial: int = 0,
    scaled: bool = False,
) -> tqdm:
    """A bar that counts images on standard error; nothing is shown if that is not a terminal.

    Args:
        images: items that the bar yields and counts; None: the caller counts with its `update`.
        what: description, shown before the bar.
        total: number of images, if they are not given or have no length.
        keep: keep the bar on the terminal when all is done.
        shown: False shows nothing even on a terminal.
        unit: what is counted.
        initial: number that was done before, whose time is not known.
        scaled: numbers are shown in thousands, millions and so on.
    """
    from tqdm import tqdm

    disable = None if shown else True  # None: tqdm shows the bar only on a terminal
    bar = tqdm(
        images,
        what,
        total,
        leave=keep,
        unit=unit if scaled else f' {unit}',
        dynamic_ncols=True,
        disable=disable,
        initial=initial,
        unit_scale=scaled,
    )
    listener = _listener.get()
    if listener is None:
        return bar
    if total is None and images is not None:
        total = len(images) if hasattr(images, '__len__') else None
    return _Told(bar, images, functools.partial(listener, unit), total)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """A context in which progress bars of this thread also tell a function how far they are.

    Args:
        listener: called with what is counted, such as 'images', how many are done, and how many there are, if that is
            known.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class _Told:
    """A progress bar that tells a listener, too, whether or not it is shown."""

    def __init__(self, bar: tqdm, images: Optional[Iterable], tell: Callable[[int, Optional[int]], None], total):
        self._bar, self._images, self._tell, self._total, self._done = bar, images, tell, total, 0

    def update(self, number: int = 1) -> None:
        """Counts."""
        self._bar.update(number)
        self._done += number
        self._tell(self._done, self._total)

    def __iter__(self) -> Iterator:
        with self._bar:
            for item in self._images:
                yield item
                self.update()

    def __enter__(self) -> _Told:
        self._bar.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._bar.__exit__(*error)


def count(number: int, what: str) -> str:
    """A number with its noun: '1 image', '2 images'."""
    return f'{number:,} {what}{"" if number == 1 else "s"}'

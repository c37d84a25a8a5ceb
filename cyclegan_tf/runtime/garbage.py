"""Python's search for garbage cycles, which costs a third of the time of TensorFlow's import."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A context for imports: no search for cycles within it, nor later among the objects that are there at its end.

    An import makes a million objects that stay, and Python would go through them again and again.
    """
    with paused():
        yield
        gc.freeze()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """A context without a search for cycles, for what makes many objects that stay, such as networks and graphs."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

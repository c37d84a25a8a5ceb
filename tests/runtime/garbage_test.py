"""When Python looks for garbage cycles."""

import gc
import weakref

import pytest

from cyclegan_tf.runtime import garbage


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def restored():
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_looked_for_in_a_pause_and_afterwards_again():
    with garbage.paused():
        assert not gc.isenabled()
        with garbage.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), garbage.paused():
        raise KeyError
    assert gc.isenabled()


def test_what_is_there_after_imports_is_left_alone_and_what_comes_later_is_not():
    with garbage.importing():
        assert not gc.isenabled()
        kept = Cycle()
    assert gc.isenabled() and gc.get_freeze_count() > 1000
    kept_still, later = weakref.ref(kept), Cycle()
    dropped = weakref.ref(later)
    del kept, later
    gc.collect()
    assert kept_still() is not None and dropped() is None

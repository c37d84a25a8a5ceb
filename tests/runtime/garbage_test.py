"""When Python looks for garbage cycles."""

import gc

import pytest

from cyclegan_tf.runtime import garbage


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def restored():
    yield
    gc.enable()


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

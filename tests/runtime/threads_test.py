"""Results of threads come in order, and only so many at once."""

import concurrent.futures
import time

import pytest

from cyclegan_tf.runtime.threads import map_ahead


def test_results_come_in_the_order_of_the_items():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        later = map_ahead(lambda i: time.sleep((7 - i) / 500) or i * i, range(8), pool, ahead=5)
        assert list(later) == [i * i for i in range(8)]
        assert list(map_ahead(abs, [], pool, ahead=1)) == []


def test_only_so_many_are_computed_ahead():
    computed, taken = set(), iter(range(50))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = map_ahead(computed.add, taken, pool, ahead=3)
        next(results)
    assert computed == {0, 1, 2}  # the pool's end waits for all that it was given
    assert next(taken) == 4  # one was held back until there would be room


def test_an_error_is_raised_where_its_result_would_have_come():
    def compute(i):
        if i == 2:
            raise OSError('it is gone')
        return i

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = map_ahead(compute, range(5), pool, ahead=4)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(OSError, match='it is gone'):
            next(results)

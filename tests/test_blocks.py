"""Blocks of work in threads: in order, whole, as many threads as allowed, and errors that come through."""

import os
import threading
import time
from itertools import chain

import pytest

from pyspk.scoring.blocks import in_order, n_threads


@pytest.mark.parametrize("limit", ["1", "3"])
@pytest.mark.parametrize(("n", "block"), [(0, 4), (1, 4), (8, 4), (23, 4)])
def test_blocks_come_whole_and_in_order_however_long_they_take(monkeypatch, limit, n, block):
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    seen = set()

    def work(some):
        time.sleep(0.002 * (some.start % 3))
        seen.add(threading.get_ident())
        return list(range(n))[some]

    parts = list(in_order(work, n, block))
    assert list(chain(*parts)) == list(range(n)) and all(len(part) == block for part in parts[:-1])
    assert len(seen) <= int(limit)


def test_a_fault_in_a_block_comes_through():
    def work(some):
        return 1 // (some.start - 8)

    with pytest.raises(ZeroDivisionError):
        list(in_order(work, 100, 4))


@pytest.mark.parametrize(("limit", "expected"), [("2", 2), ("0", None), ("", None), ("many", None)])
def test_the_limit_of_threads_is_kept(monkeypatch, limit, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert n_threads() == (expected or len(os.sched_getaffinity(0)))

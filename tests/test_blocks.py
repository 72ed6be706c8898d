"""Blocks of work in threads: in order, whole, as many threads as allowed, and errors that come through."""

import os
import threading
import time
from itertools import chain

import numpy as np
import pytest

from pyspk.scoring import blocks
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inner_products_by_threads_and_by_torch_are_those_of_a_loop(dtype):
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=(n, 7)).astype(dtype) for n in (5, 9))
    rows, others = rng.integers(5, size=blocks._BLOCK_TRIALS + 3), rng.integers(9, size=blocks._BLOCK_TRIALS + 3)
    naive = [sum(float(a) * float(b) for a, b in zip(left[i], right[j], strict=True))
             for i, j in zip(rows, others, strict=True)]
    by_threads = blocks.inner_products(left, right, rows.astype(np.int32), others)
    by_torch = blocks._by_torch(left, right, rows.astype(np.int32), others, "cpu")
    for got in (by_threads, by_torch):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, naive, atol=1e-5 if dtype is np.float32 else 1e-12)


def test_torch_takes_more_trials_than_one_block(monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_TRIALS_GPU", 4)
    emb = np.eye(3, dtype=np.float32)
    rows = np.arange(11) % 3
    assert blocks._by_torch(emb, emb, rows, np.zeros(11, int), "cpu").tolist() == [float(i % 3 == 0) for i in range(11)]

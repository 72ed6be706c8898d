"""Work on millions of trials, a block at a time, in as many threads as this process may use."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")
_BLOCK_TRIALS = 1 << 12                  # of a thread: 2 x 4 MiB of float32 embeddings at D = 256
_BLOCK_TRIALS_GPU = 1 << 18


def n_threads() -> int:
    """OMP_NUM_THREADS where it is set, as for torch and numpy; else the number of cores that this process may use."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdigit() and int(limit) else len(os.sched_getaffinity(0))


def in_order(work: Callable[[slice], Result], n: int, block: int) -> Iterator[Result]:
    """work(slice) for the blocks of n things one after the other; some are worked on while one is waited for.

    `work` must bear to run in several threads. It is worth it where most of its time passes without Python's lock, as
    in numpy and pyarrow.
    """
    with ThreadPoolExecutor(n_threads()) as pool:
        under_way = deque()
        for start in range(0, n, block):
            under_way.append(pool.submit(work, slice(start, min(start + block, n))))
            if len(under_way) > 2 * n_threads():
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def inner_products(left: np.ndarray, right: np.ndarray, left_rows: np.ndarray, right_rows: np.ndarray,
                   device: str = "cpu") -> np.ndarray:
    """The inner product (n,) of row left_rows[i] of left (m, D) and row right_rows[i] of right (k, D), in left's dtype.

    Some at a time: on the CPU in threads; another device, which is then asked of torch, holds left and right.
    """
    if device != "cpu":
        return _by_torch(left, right, left_rows, right_rows, device)
    products = np.empty(len(left_rows), dtype=left.dtype)

    def fill(block: slice) -> None:
        np.einsum("nd,nd->n", left[left_rows[block]], right[right_rows[block]], out=products[block])

    deque(in_order(fill, len(products), _BLOCK_TRIALS), maxlen=0)
    return products


def _by_torch(left: np.ndarray, right: np.ndarray, left_rows: np.ndarray, right_rows: np.ndarray,
              device: str) -> np.ndarray:
    import torch
    there = torch.from_numpy(left).to(device)
    others = there if right is left else torch.from_numpy(right).to(device)
    products = np.empty(len(left_rows), dtype=left.dtype)
    for start in range(0, len(products), _BLOCK_TRIALS_GPU):
        block = slice(start, start + _BLOCK_TRIALS_GPU)
        one, other = (torch.from_numpy(rows[block].astype(np.int64)).to(device) for rows in (left_rows, right_rows))
        products[block] = (there[one] * others[other]).sum(dim=1).cpu().numpy()
    return products

"""Work on millions of trials, a block at a time, in as many threads as this process may use."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


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

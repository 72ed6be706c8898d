"""What a cohort says of embeddings: mean and standard deviation of the scores that score norms divide by.

Never all embeddings times the whole cohort at once: on the CPU each thread works through blocks of cosines that stay in
its cache, and takes the highest by selection, not by sorting.
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyspk.errors import UserError

log = logging.getLogger(__name__)

_BLOCK_SCORES = 1 << 20                  # of one thread on the CPU: 4 MiB, near what a core's own cache holds
_BLOCK_SCORES_GPU = 1 << 24              # 64 MiB
_LEAST_ROWS = 64                         # fewer at a time make the product slow, however large the cohort

Device = str | torch.device


class Moments(NamedTuple):
    """Mean and standard deviation (dividing by the number), float64, of some cohort scores each."""

    mean: np.ndarray
    std: np.ndarray


class _Side(NamedTuple):
    """One side of n trials: its rows, the other side's, the order that sorts its own, and what is found for it."""

    own: np.ndarray
    other: np.ndarray
    order: np.ndarray
    moments: Moments


def cohort_statistics(emb: np.ndarray, cohort: np.ndarray, top_n: int | None = None, device: Device = "cpu") -> Moments:
    """Moments (m,) of the top_n highest cosines of each emb (m, D) against cohort (C, D), all of them by default.

    cohort of norm 1; emb too, or as short as the mean of a model's. A cohort of fewer than top_n is used whole, and
    the log says so. Memory: a fixed number of cohort scores, whatever m. Raises UserError for a cohort or a top_n
    below 2.
    """
    top_n = _at_most(len(cohort), top_n)
    moments = Moments(np.empty(len(emb)), np.empty(len(emb)))

    def take(scores: Tensor, start: int) -> None:
        _fill(moments, slice(start, start + len(scores)), _highest(scores, top_n))

    _through_blocks(emb, cohort, device, take)
    return moments


def cross_statistics(emb: np.ndarray, cohort: np.ndarray, top_n: int, enroll: np.ndarray, test: np.ndarray,
                     device: Device = "cpu") -> tuple[Moments, Moments]:
    """Moments (n,) of each trial's enroll, then test side, over the top_n cohort members closest to the other side.

    emb (m, D), cohort (C, D) and top_n as in cohort_statistics; enroll, test (n,): rows of emb. Keeps top_n places of
    four bytes for each of the m. Raises UserError as cohort_statistics does.
    """
    top_n = _at_most(len(cohort), top_n)
    closest = np.empty((len(emb), top_n), dtype=np.int32)

    def choose(scores: Tensor, start: int) -> None:
        closest[start:start + len(scores)] = _places_of_highest(scores, top_n)

    _through_blocks(emb, cohort, device, choose)
    sides = [_Side(own, other, np.argsort(own, kind="stable"), Moments(np.empty(len(own)), np.empty(len(own))))
             for own, other in ((enroll, test), (test, enroll))]

    def look_up(scores: Tensor, start: int) -> None:
        flat, n_rows = scores.cpu().numpy().reshape(-1), len(scores)
        for side in sides:
            first, last = np.searchsorted(side.own, [start, start + n_rows], sorter=side.order)
            for begin in range(first, last, n_rows):                 # as many trials at a time as embeddings
                trials = side.order[begin:min(begin + n_rows, last)]
                row_starts = (side.own[trials].astype(np.int64) - start) * len(cohort)
                _fill(side.moments, trials, flat[row_starts[:, None] + closest[side.other[trials]]])

    _through_blocks(emb, cohort, device, look_up)
    return sides[0].moments, sides[1].moments


def _at_most(n_cohort: int, top_n: int | None) -> int:
    """How many of the cohort count. Raises UserError for fewer than 2, which have no standard deviation."""
    wanted = n_cohort if top_n is None else top_n
    if min(n_cohort, wanted) < 2:
        raise UserError(f"a cohort of {n_cohort} and a top-n of {wanted}: a standard deviation needs at least 2")
    if n_cohort < wanted:
        log.warning("the cohort has %d embeddings, fewer than top-n %d: all of them are used", n_cohort, wanted)
    return min(n_cohort, wanted)


def _through_blocks(emb: np.ndarray, cohort: np.ndarray, device: Device, take: Callable[[Tensor, int], None]) -> None:
    """take(cosines (rows, C) of emb[start:start + rows], start) for all of emb; `take` may change them.

    On the CPU as many blocks at a time as torch has threads (OMP_NUM_THREADS), each with a thread of its own: the
    blocks, and with them every digit, do not depend on how many. `take` must bear to run in several threads.
    """
    is_cpu = torch.device(device).type == "cpu"
    n_threads = torch.get_num_threads() if is_cpu else 1
    n_rows = max((_BLOCK_SCORES if is_cpu else _BLOCK_SCORES_GPU) // len(cohort), _LEAST_ROWS)
    columns = torch.from_numpy(cohort).to(device).T                                            # (D, C)
    starts = iter(range(0, len(emb), n_rows))

    def work(_) -> None:
        buffer = torch.empty(min(n_rows, len(emb)), len(cohort), device=device)
        for start in starts:                                         # shared: each thread takes the next that is left
            rows = torch.from_numpy(emb[start:start + n_rows]).to(device)
            take(torch.mm(rows, columns, out=buffer[:len(rows)]), start)

    if not is_cpu:
        return work(0)
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            list(pool.map(work, range(n_threads)))
        except BaseException:
            deque(starts, maxlen=0)                                  # interrupted: the threads find nothing left to do
            raise
    return torch.set_num_threads(n_threads)                          # MKL's own count is one for all threads


def _highest(scores: Tensor, top_n: int) -> np.ndarray:
    """The top_n highest of each row (rows, C) in any order, (rows, top_n); on the CPU `scores` are reordered."""
    n_rest = scores.shape[1] - top_n
    if scores.device.type != "cpu":
        return scores.topk(top_n, dim=1, sorted=False).values.cpu().numpy()
    values = scores.numpy()
    if n_rest:
        values.partition(n_rest, axis=1)                             # numpy's, five times as fast as torch.topk
    return values[:, n_rest:]


def _places_of_highest(scores: Tensor, top_n: int) -> np.ndarray:
    """Where the top_n highest of each row (rows, C) are, in any order, (rows, top_n)."""
    n_rest = scores.shape[1] - top_n
    if scores.device.type != "cpu":
        return scores.topk(top_n, dim=1, sorted=False).indices.cpu().numpy()
    return scores.numpy().argpartition(n_rest, axis=1)[:, n_rest:] if n_rest else np.arange(top_n)


def _fill(moments: Moments, where: slice | np.ndarray, scores: np.ndarray) -> None:
    """Enter the moments of each row of scores (rows, n)."""
    scores = scores.astype(np.float64)
    moments.mean[where] = mean = scores.mean(axis=1)
    scores -= mean[:, None]
    moments.std[where] = np.sqrt(np.einsum("rn,rn->r", scores, scores) / scores.shape[1])

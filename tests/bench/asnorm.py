#!/usr/bin/env python3
"""Cohort statistics of adaptive s-norm, ours beside a whole-matrix numpy sort in the two ways of public toolkits.

"one matrix": all embeddings of the trials times the cohort, sorted. "a side at a time": first those of the enroll side,
then those of the test side; an embedding on both sides is sorted twice. The trials are random, of VoxCeleb1-E's size by
default. Each method runs in its own process on the same embeddings, in turns; memory is what the process grew by above
its inputs. The share of the time that went into the kernel says how much of it is making room for the matrix.

    PYTHONPATH=. tests/bench/asnorm.py
"""

import multiprocessing
import os
import resource
import time

import click
import numpy as np

from pyspk.scoring.cohort import cohort_statistics


def ours(emb: np.ndarray, cohort: np.ndarray, _enroll: np.ndarray, _test: np.ndarray, top_n: int) -> np.ndarray:
    """(mean, std) of each embedding's top_n highest cosines, (2, m)."""
    return np.stack(cohort_statistics(emb, cohort, top_n))


def one_matrix(emb: np.ndarray, cohort: np.ndarray, _enroll: np.ndarray, _test: np.ndarray, top_n: int) -> np.ndarray:
    """The same from all cosines at once, sorted."""
    best = np.sort(emb @ cohort.T, axis=1)[:, ::-1][:, :top_n]
    return np.stack([best.mean(axis=1), best.std(axis=1)])


def a_side_at_a_time(emb: np.ndarray, cohort: np.ndarray, enroll: np.ndarray, test: np.ndarray,
                     top_n: int) -> np.ndarray:
    """The same, the two sides one after the other."""
    statistics = np.empty((2, len(emb)))
    for side in (np.unique(enroll), np.unique(test)):
        statistics[:, side] = one_matrix(emb[side], cohort, enroll, test, top_n)
    return statistics


def measure(method, n_emb: int, n_cohort: int, n_trials: int, dim: int, top_n: int) -> tuple:
    """(seconds, of them processor, of them kernel, MiB of growth, statistics (2, n_emb))."""
    rng = np.random.default_rng(0)
    emb, cohort = (rng.standard_normal((n, dim), dtype=np.float32) for n in (n_emb, n_cohort))
    for vectors in (emb, cohort):
        vectors /= np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    sides = np.concatenate([np.arange(n_emb), rng.integers(n_emb, size=2 * n_trials - n_emb)])   # each has its trial
    enroll, test = rng.permutation(sides).reshape(2, n_trials)
    before_kib, start_s, before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), os.times()
    statistics = method(emb, cohort, enroll, test, top_n)
    seconds, after = time.perf_counter() - start_s, os.times()
    kernel_s = after.system - before.system
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    return seconds, after.user - before.user + kernel_s, kernel_s, grown_mib, statistics


@click.command()
@click.option("--n-emb", default=145160, show_default=True, help="embeddings in the trials")
@click.option("--n-cohort", default=5994, show_default=True, help="embeddings in the cohort")
@click.option("--n-trials", default=579818, show_default=True, help="at least half of --n-emb")
@click.option("--dim", default=256, show_default=True, help="of the embeddings")
@click.option("--top-n", default=300, show_default=True, help="highest cohort scores that count")
@click.option("--repeats", default=3, show_default=True, help="the fastest of so many runs counts")
def main(n_emb, n_cohort, n_trials, dim, top_n, repeats):
    """Print seconds and MiB of all three, and how many times ours is faster and smaller."""
    best = {}
    for _ in range(repeats):
        for method in (ours, one_matrix, a_side_at_a_time):
            with multiprocessing.get_context("spawn").Pool(1) as process:
                run = process.apply(measure, (method, n_emb, n_cohort, n_trials, dim, top_n))
            best[method.__name__] = min(run, best.get(method.__name__, run), key=lambda one: one[0])
    click.echo(" " * 19 + " seconds processor  kernel      MiB times ours differs by")
    for name, (seconds, processor, kernel, mib, statistics) in best.items():
        click.echo(f"{name:18} {seconds:8.2f} {processor:9.2f} {kernel:7.2f} {mib:8.1f} "
                   f"{seconds / best['ours'][0]:10.2f} {np.abs(statistics - best['ours'][4]).max():10.1e}")


if __name__ == "__main__":
    main()

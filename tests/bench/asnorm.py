#!/usr/bin/env python3
"""Adaptive s-norm statistics, ours beside a whole-matrix numpy sort: time, peak memory, and their ratios.

Each runs in its own process on the same random embeddings; memory is what the process grew by above its inputs.

    PYTHONPATH=. tests/bench/asnorm.py --n-emb 20000 --n-cohort 6000
"""

import multiprocessing
import resource
import time

import click
import numpy as np
from pyspk.scoring.asnorm import cohort_statistics


def by_whole_matrix(emb: np.ndarray, cohort: np.ndarray, top_n: int) -> tuple[np.ndarray, np.ndarray]:
    """What cohort_statistics gives, from all cosines at once, sorted."""
    best = np.sort(emb @ cohort.T, axis=1)[:, -top_n:]
    return best.mean(axis=1), best.std(axis=1)


def measure(method, n_emb: int, n_cohort: int, dim: int, top_n: int) -> tuple[float, float, np.ndarray]:
    """(seconds, MiB of growth, statistics (2, n_emb))."""
    rng = np.random.default_rng(0)
    emb, cohort = (rng.standard_normal((n, dim), dtype=np.float32) for n in (n_emb, n_cohort))
    for vectors in (emb, cohort):
        vectors /= np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    before_kib, start_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    statistics = np.stack(method(emb, cohort, top_n))
    seconds = time.perf_counter() - start_s
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024, statistics


@click.command()
@click.option("--n-emb", default=20000, show_default=True, help="embeddings in the trials")
@click.option("--n-cohort", default=6000, show_default=True, help="embeddings in the cohort")
@click.option("--dim", default=256, show_default=True, help="of the embeddings")
@click.option("--top-n", default=300, show_default=True, help="highest cohort scores that count")
@click.option("--repeats", default=3, show_default=True, help="the fastest of so many runs counts")
def main(n_emb, n_cohort, dim, top_n, repeats):
    """Print seconds and MiB of both, and how many times ours is faster and smaller."""
    best = {}
    for _ in range(repeats):
        for method in (cohort_statistics, by_whole_matrix):
            with multiprocessing.get_context("spawn").Pool(1) as process:
                run = process.apply(measure, (method, n_emb, n_cohort, dim, top_n))
            best[method.__name__] = min(run, best.get(method.__name__, run), key=lambda one: one[0])
    for name, (seconds, mib, _) in best.items():
        click.echo(f"{name:20} {seconds:8.2f} s {mib:9.1f} MiB")
    ours, theirs = best.values()
    click.echo(f"{'ratio':20} {theirs[0] / ours[0]:8.2f} x {theirs[1] / ours[1]:9.1f} x")
    click.echo(f"{'largest difference':20} {np.abs(ours[2] - theirs[2]).max():.1e}")


if __name__ == "__main__":
    main()

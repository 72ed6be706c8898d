#!/usr/bin/env python3
"""EER, minDCF and a thinned DET curve of many trials, beside sklearn.metrics.roc_curve: time, memory, ratios.

Each runs in its own process on the same random scores; memory is the most that the process held, its
scores included. sklearn (pip install scikit-learn) gives the curve alone, from which EER and minDCF are taken here.

    PYTHONPATH=. tests/bench/metrics.py --n-trials 10000000
"""

import multiprocessing
import resource
import time

import click
import numpy as np

from pyspk.metrics import Cost, Evaluation

COSTS = Cost(0.01), Cost(0.05)


def ours(targets: np.ndarray, nontargets: np.ndarray) -> list[float]:
    """EER, minDCF at both priors and how many points are left to plot."""
    system = Evaluation(targets, nontargets)
    return [system.eer(), *(system.min_dcf(cost) for cost in COSTS), len(system.det(2000)[0])]


def all_of_ours(targets: np.ndarray, nontargets: np.ndarray) -> list[float]:
    """The same and the EER on the hull, actDCF, Cllr and min Cllr."""
    system = Evaluation(targets, nontargets)
    return [system.eer(), *(system.min_dcf(cost) for cost in COSTS), len(system.det(2000)[0]), system.eer_hull(),
            *(system.act_dcf(cost) for cost in COSTS), system.cllr(), system.min_cllr()]


def by_roc_curve(targets: np.ndarray, nontargets: np.ndarray) -> list[float]:
    """The same from the whole ROC curve."""
    from sklearn.metrics import roc_curve
    labels = np.concatenate([np.ones(len(targets), dtype=np.int8), np.zeros(len(nontargets), dtype=np.int8)])
    p_fa, p_hit, _ = roc_curve(labels, np.concatenate([targets, nontargets]))
    p_miss = 1 - p_hit
    nearest = np.argmin(np.abs(p_miss - p_fa))
    return [(p_miss[nearest] + p_fa[nearest]) / 2, *(cost.of(p_miss, p_fa).min() for cost in COSTS), len(p_fa)]


def measure(method, n_trials: int, target_share: float, dtype: str) -> tuple[float, float, float, list[float]]:
    """(processor seconds, seconds, MiB at most, what the method returns)."""
    rng = np.random.default_rng(0)
    n_target = round(n_trials * target_share)
    targets, nontargets = (2 * rng.standard_normal(n, dtype=dtype) for n in (n_target, n_trials - n_target))
    targets += 2
    nontargets -= 2
    method(targets[:1000], nontargets[:1000])                       # imports
    start_s, start_processor_s = time.perf_counter(), time.process_time()
    values = method(targets, nontargets)
    processor_s, seconds = time.process_time() - start_processor_s, time.perf_counter() - start_s
    return processor_s, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, values


@click.command()
@click.option("--n-trials", default=10_000_000, show_default=True)
@click.option("--target-share", default=0.5, show_default=True, help="of the trials; half makes the most points")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True)
@click.option("--repeats", default=3, show_default=True, help="the fastest of so many runs counts")
def main(n_trials, target_share, dtype, repeats):
    """Print seconds and MiB of each, and how many times ours is faster and smaller than sklearn."""
    best = {}
    for _ in range(repeats):
        for method in (ours, all_of_ours, by_roc_curve):
            with multiprocessing.get_context("spawn").Pool(1) as process:
                run = process.apply(measure, (method, n_trials, target_share, dtype))
            best[method.__name__] = min(run, best.get(method.__name__, run), key=lambda one: one[0])
    for name, (processor_s, seconds, mib, _) in best.items():
        click.echo(f"{name:15} {processor_s:8.2f} s of processor {seconds:8.2f} s {mib:9.1f} MiB")
    theirs = best.pop("by_roc_curve")
    for name, run in best.items():
        difference = np.abs(np.subtract(run[3][:3], theirs[3][:3])).max()
        ratios = [f"{of_theirs / of_ours:.2f}" for of_theirs, of_ours in zip(theirs[:3], run[:3], strict=True)]
        click.echo(f"roc_curve / {name}: processor {ratios[0]}, time {ratios[1]}, memory {ratios[2]}; largest "
                   f"difference {difference:.1e}")


if __name__ == "__main__":
    main()

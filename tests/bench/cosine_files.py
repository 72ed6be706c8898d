#!/usr/bin/env python3
"""Scoring trials from file to file: steps/score_cosine.py, and steps/compute_metrics.py's reading, beside a plain loop.

The loop is what public toolkits do: kaldiio's embeddings in a dictionary, and for each line a split, two look-ups, an
inner product and a formatted line; it runs on fewer trials, and its time is scaled. Names are as long as VoxCeleb's.

    PYTHONPATH=. tests/bench/cosine_files.py
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import kaldiio
import numpy as np

from pyspk.scoring.trials import match, read_scores, read_trials
from pyspk.tables.archive import ArchiveWriter

STEP = Path(__file__).resolve().parents[2] / "steps" / "score_cosine.py"


def write_inputs(folder: Path, n_emb: int, dim: int, n_trials: int, n_of_loop: int, is_shuffled: bool) -> None:
    """FOLDER/{xvector.scp,trials,few}; no trial comes twice."""
    rng = np.random.default_rng(0)
    names = [f"id{10000 + n // 116}/{n * 7919 * 104729:011x}/{n % 116:05d}.wav" for n in range(n_emb)]
    with ArchiveWriter(folder / "xvector.ark", folder / "xvector.scp") as writer:
        for name in sorted(names):
            writer.write(name, rng.standard_normal(dim, dtype=np.float32))
    codes = rng.permutation(np.unique(rng.integers(n_emb ** 2, size=n_trials + n_trials // 100)))[:n_trials]
    if not is_shuffled:
        codes = codes[np.argsort(codes // n_emb, kind="stable")]
    with (folder / "trials").open("w") as file, (folder / "few").open("w") as few:
        for start in range(0, n_trials, 1 << 16):
            pairs = zip(*(side.tolist() for side in np.divmod(codes[start:start + (1 << 16)], n_emb)), strict=True)
            lines = [f"{names[e]} {names[t]} {'target' if e % 2 else 'nontarget'}\n" for e, t in pairs]
            file.writelines(lines)
            few.writelines(lines[:max(n_of_loop - start, 0)])


def plain_loop(trials: Path, scp: Path, out: Path) -> None:
    """Write the cosine of each line of `trials`."""
    emb = {name: vector / np.linalg.norm(vector) for name, vector in kaldiio.load_scp(str(scp)).items()}
    with trials.open() as lines, out.open("w") as file:
        for line in lines:
            enroll, test, _ = line.split()
            file.write(f"{enroll} {test} {emb[enroll] @ emb[test]:.7g}\n")


def seconds_of(work, *args) -> tuple[float, float]:
    """How long work(*args) takes, and how much of a processor it and its children use."""
    began, before = time.perf_counter(), os.times()
    work(*args)
    return time.perf_counter() - began, sum(os.times()[:4]) - sum(before[:4])


def read_and_match(trials: Path, scores: Path) -> None:
    """What compute_metrics.py does before it computes."""
    match(read_trials(trials), read_scores(scores), trials, scores)


@click.command()
@click.option("--n-trials", default=10_000_000, show_default=True)
@click.option("--n-emb", default=145160, show_default=True, help="embeddings in the trials")
@click.option("--dim", default=256, show_default=True, help="of the embeddings")
@click.option("--n-of-loop", default=300_000, show_default=True, help="trials that the plain loop scores")
@click.option("--shuffled", is_flag=True, help="enroll sides in any order; without it grouped, as in most lists")
def main(n_trials, n_emb, dim, n_of_loop, shuffled):
    """Print seconds and MiB of each, and the ratio."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder, n_emb, dim, n_trials, n_of_loop, shuffled)
        scp, few = folder / "xvector.scp", folder / "few"
        loading, _ = seconds_of(plain_loop, Path(os.devnull), scp, folder / "none")
        loop = seconds_of(plain_loop, few, scp, folder / "few.loop")[0] - loading
        call = [sys.executable, STEP, folder / "trials", scp, scp, folder / "scores"]
        step, step_cpu = seconds_of(lambda: subprocess.run(call, check=True, stderr=subprocess.DEVNULL))
        mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        with (folder / "few.loop").open() as theirs, (folder / "scores").open() as ours:
            off = max(abs(float(a.split()[2]) - float(b.split()[2])) for a, b in zip(theirs, ours, strict=False))
        reading, reading_cpu = seconds_of(read_and_match, folder / "trials", folder / "scores")
    scaled = loading + loop * n_trials / n_of_loop
    click.echo(f"plain loop        {scaled:8.1f} s (loading {loading:.1f} s, {n_of_loop} trials {loop:.1f} s)")
    click.echo(f"score_cosine.py   {step:8.1f} s (processor {step_cpu:.1f} s), {mib:.0f} MiB, "
               f"{scaled / step:.1f} times as fast, off by {off:.0e}")
    click.echo(f"read and matched  {reading:8.1f} s (processor {reading_cpu:.1f} s)")


if __name__ == "__main__":
    main()

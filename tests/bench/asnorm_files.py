#!/usr/bin/env python3
"""Adaptive s-norm from file to file: steps/score_asnorm.py beside the score_norm.py of the wespeaker toolkit.

Both read the same scores, embeddings and cohort and write normalised scores; each run is a process of its own, the two
in turns. The trials are random, of VoxCeleb1-E's size by default. The toolkit is a checkout of its repository, of which
one script and one helper run, not its package; they want `pip install fire`.

    PYTHONPATH=. tests/bench/asnorm_files.py WESPEAKER_DIR
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from pyspk.scoring.trials import read_scores
from pyspk.tables.archive import ArchiveWriter

STEP = Path(__file__).resolve().parents[2] / "steps" / "score_asnorm.py"
# The package's own __init__ asks for all that the toolkit needs; an empty one in its place lets the script run alone.
RUN_SCRIPT = """
import runpy, sys, types
package = sys.modules["wespeaker"] = types.ModuleType("wespeaker")
package.__path__ = [sys.argv.pop(1)]
runpy.run_path(package.__path__[0] + "/bin/score_norm.py", run_name="__main__")
"""


def write_embeddings(folder: Path, name: str, keys: list[str], dim: int, rng: np.random.Generator) -> Path:
    """FOLDER/NAME.{ark,scp}: a random vector (dim,) for each key, all around a common mean."""
    with ArchiveWriter(folder / f"{name}.ark", folder / f"{name}.scp") as writer:
        for key in keys:
            writer.write(key, 0.3 + rng.standard_normal(dim, dtype=np.float32))
    return folder / f"{name}.scp"


def write_scores(ours: Path, theirs: Path, keys: list[str], n_trials: int, rng: np.random.Generator) -> None:
    """The same random scores in each format; the toolkit's has target or nontarget in the fourth column."""
    codes = np.unique(rng.integers(len(keys) ** 2, size=n_trials + n_trials // 100))       # no trial comes twice
    codes = rng.permutation(codes)[:n_trials]
    with ours.open("w") as one, theirs.open("w") as other:
        for enroll, test, score in zip(*np.divmod(codes, len(keys)), rng.random(n_trials), strict=True):
            line = f"{keys[enroll]} {keys[test]} {score:.5f}"
            one.write(line + "\n")
            other.write(line + " nontarget\n")


def measure(call: list) -> tuple[float, float, float]:
    """(seconds, of all processors, largest MiB) of one run of a command."""
    start_s = time.perf_counter()
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{call[-1]}: no result:\n{said[-2000:]}")
    return time.perf_counter() - start_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@click.command()
@click.argument("wespeaker_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--n-emb", default=145160, show_default=True, help="embeddings in the trials")
@click.option("--n-cohort", default=5994, show_default=True, help="embeddings in the cohort")
@click.option("--n-trials", default=579818, show_default=True)
@click.option("--dim", default=256, show_default=True, help="of the embeddings")
@click.option("--top-n", default=300, show_default=True, help="highest cohort scores that count")
@click.option("--repeats", default=3, show_default=True, help="the fastest of so many runs counts")
def main(wespeaker_dir, n_emb, n_cohort, n_trials, dim, top_n, repeats):
    """Print seconds and MiB of both, how many times ours is faster and smaller, and the largest difference."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        keys = [f"id{10000 + n // 116}/{n:011x}/{n % 116:05d}.wav" for n in range(n_emb)]
        scp = write_embeddings(folder, "eval", keys, dim, rng)
        cohort = write_embeddings(folder, "cohort", [f"id{n:05d}" for n in range(n_cohort)], dim, rng)
        given = {name: folder / f"given.{name}" for name in ("ours", "theirs")}
        write_scores(*given.values(), keys, n_trials, rng)
        calls = {"ours": [sys.executable, STEP, "--overwrite", "--top-n", top_n, given["ours"], scp, cohort,
                          folder / "ours"],
                 "theirs": [sys.executable, "-c", RUN_SCRIPT, wespeaker_dir / "wespeaker", "asnorm", top_n,
                            given["theirs"], folder / "theirs", cohort, scp]}
        best = {}
        for _ in range(repeats):
            for name, call in calls.items():
                (folder / name).unlink(missing_ok=True)
                run = measure([str(part) for part in call])
                best[name] = min(run, best.get(name, run))
        theirs = np.array([float(line.split()[2]) for line in (folder / "theirs").open()])
        off = np.abs(read_scores(folder / "ours").score - theirs).max()
    for name, (seconds, processor, mib) in best.items():
        click.echo(f"{name:7} {seconds:7.2f} s (processor {processor:.2f} s), {mib:.0f} MiB")
    (ours_s, _, ours_mib), (theirs_s, _, theirs_mib) = best["ours"], best["theirs"]
    click.echo(f"ours is {theirs_s / ours_s:.1f} times as fast in 1/{theirs_mib / ours_mib:.1f} of the memory; "
               f"the scores differ by {off:.0e} at most (theirs have five decimals)")


if __name__ == "__main__":
    main()

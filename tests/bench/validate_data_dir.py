#!/usr/bin/env python3
"""Validation of a large data directory beside the checks that sort, cut and cmp of the shell make on the same files.

The shell asks less: that the first column of each table is sorted and unique, and the same as that of utt2spk. Each
runs in its own process, in turns; the fastest of each counts, with its peak memory.

    PYTHONPATH=. tests/bench/validate_data_dir.py --n-utts 1100000
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
OURS = [sys.executable, str(ROOT / "steps" / "validate_data_dir.py")]
SHELL = r"""
set -euo pipefail
cd "$0"
cut -d' ' -f1 utt2spk > .utts
cut -d' ' -f2 utt2spk | LC_ALL=C sort -u > .spks
for table in utt2spk wav.scp feats.scp vad.scp utt2num_frames utt2dur text; do
  LC_ALL=C sort -c -u -k1,1 "$table"
  cut -d' ' -f1 "$table" | cmp - .utts
done
for table in spk2utt spk2gender; do
  LC_ALL=C sort -c -u -k1,1 "$table"
  cut -d' ' -f1 "$table" | cmp - .spks
done
rm .utts .spks
"""
LINES = {      # table -> the rest of the line of utterance u of speaker s
    "wav.scp": "/corpora/voxceleb2/dev/aac/id{s:05d}/video{u:07d}/00001.m4a",
    "feats.scp": "/exp/raw_fbank_train.7.ark:{u:09d}", "vad.scp": "/exp/vad_train.7.ark:{u:09d}",
    "utt2num_frames": "8{s:03d}", "utt2dur": "8.{s:03d}", "text": "some words that were said by {s}",
}


def make(folder: Path, n_utts: int, n_spk: int) -> None:
    """Write a data directory with all the tables that SHELL names."""
    utts = [(u * n_spk // n_utts, u) for u in range(n_utts)]
    names = [f"id{s:05d}-video{u:07d}-00001" for s, u in utts]
    for table, rest in LINES.items():
        (folder / table).write_text("".join(f"{name} {rest.format(s=s, u=u)}\n"
                                            for name, (s, u) in zip(names, utts, strict=True)))
    (folder / "utt2spk").write_text("".join(f"{name} id{s:05d}\n" for name, (s, _) in zip(names, utts, strict=True)))
    of_spk: dict[int, list[str]] = {}
    for name, (s, _) in zip(names, utts, strict=True):
        of_spk.setdefault(s, []).append(name)
    (folder / "spk2utt").write_text("".join(f"id{s:05d} {' '.join(of)}\n" for s, of in of_spk.items()))
    (folder / "spk2gender").write_text("".join(f"id{s:05d} {'mf'[s % 2]}\n" for s in of_spk))


def measure(command: list[str]) -> tuple[float, float, float]:
    """(seconds, of the processor alone, MiB of the peak) of a command that must end well, all its children included.

    The peak is that of the largest process.
    """
    start_s = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.perf_counter() - start_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


@click.command()
@click.option("--n-utts", default=1_100_000, show_default=True)
@click.option("--n-spk", default=7000, show_default=True)
@click.option("--repeats", default=3, show_default=True, help="the fastest of so many runs counts")
def main(n_utts, n_spk, repeats):
    """Print seconds and MiB of both, and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), n_utts, n_spk)
        turns = [(measure([*OURS, folder]), measure(["bash", "-c", SHELL, folder])) for _ in range(repeats)]
    ours, shell = (min(one) for one in zip(*turns, strict=True))
    for name, (seconds, processor_s, mib) in (("validate_data_dir.py", ours), ("sort, cut, cmp", shell)):
        click.echo(f"{name:22}{seconds:8.2f} s {processor_s:8.2f} s of processor {mib:8.1f} MiB")
    wall, processor, memory = (one / other for one, other in zip(ours, shell, strict=True))
    click.echo(f"{'ratio':22}{wall:8.2f} x {processor:8.2f} x {memory:20.2f} x")


if __name__ == "__main__":
    main()

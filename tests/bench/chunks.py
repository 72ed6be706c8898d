#!/usr/bin/env python3
"""Chunks of utterances read from archives, beside kaldiio.load_mat and a slice: speed, and memory over many reads.

Both take turns in one process, warm cache, over utterances and places at random; the median ratio of the turns counts.
Memory is what the process has resident after a tenth of the reads and after all.

    PYTHONPATH=. tests/bench/chunks.py
"""

import resource
import statistics
import tempfile
import time
from pathlib import Path

import click
import kaldiio
import numpy as np

from pyspk.tables.archive import ArchiveReader, ArchiveWriter, read_scp

KINDS = {"FM, float": None, "CM, one byte": 2, "CM2, two bytes": 3, "CM3, one byte": 5}


def write_archive(folder: Path, method: int | None, n_utts: int, n_frames: int, dim: int) -> list[str]:
    """The rxfilenames of n_utts matrices of noise."""
    rng = np.random.default_rng(0)
    with ArchiveWriter(folder / f"{method}.ark", folder / f"{method}.scp", method) as writer:
        for i in range(n_utts):
            writer.write(f"u{i:07}", rng.normal(10, 4, (n_frames, dim)).astype(np.float32))
    return list(read_scp(folder / f"{method}.scp").values())


def seconds(read, requests) -> float:
    """Seconds that `read` takes for all (rxfilename, first frame) of `requests`."""
    start = time.perf_counter()
    for place, first in requests:
        read(place, first)
    return time.perf_counter() - start


def resident_mib() -> float:
    """What this process holds in memory now, mapped files included."""
    with open("/proc/self/statm") as file:                                 # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize() / 1024**2


@click.command()
@click.option("--n-utts", default=2000, show_default=True)
@click.option("--n-frames", default=800, show_default=True, help="of an utterance")
@click.option("--chunk-frames", default=200, show_default=True)
@click.option("--dim", default=80, show_default=True)
@click.option("--n-reads", default=1_000_000, show_default=True, help="chunks read to see whether memory grows")
@click.option("--repeats", default=9, show_default=True, help="turns of which the median counts")
def main(n_utts, n_frames, chunk_frames, dim, n_reads, repeats):
    """Print chunks a second of both, their ratio, and memory, for each kind of archive."""
    rng = np.random.default_rng(1)

    def requests(places, n):
        return zip([places[i] for i in rng.integers(len(places), size=n)],
                   rng.integers(n_frames - chunk_frames + 1, size=n).tolist(), strict=True)

    print(f"{'chunks a second':18}{'kaldiio':>10}{'pyspk':>10}{'ratio':>8}   resident MiB after {n_reads // 10:,} and "
          f"{n_reads:,} reads of an archive")
    with tempfile.TemporaryDirectory() as folder:
        for kind, method in KINDS.items():
            places = write_archive(Path(folder), method, n_utts, n_frames, dim)
            reader = ArchiveReader()

            def ours(place, first, reader=reader):
                return reader.matrix(place, first, first + chunk_frames)

            def theirs(place, first):
                return kaldiio.load_mat(place)[first:first + chunk_frames]

            seconds(ours, requests(places, n_utts))                                            # warms the cache
            turns = []
            for _ in range(repeats):
                few = list(requests(places, 300))
                turns.append((len(few) / seconds(theirs, few), len(few) / seconds(ours, few)))
            medians = [statistics.median(rates) for rates in zip(*turns, strict=True)]
            ratio = statistics.median(mine / other for other, mine in turns)
            print(f"{kind:18}{medians[0]:10.0f}{medians[1]:10.0f}{ratio:8.1f}", end="   ", flush=True)
            seconds(ours, requests(places, n_reads // 10))
            before = resident_mib()
            seconds(ours, requests(places, n_reads - n_reads // 10))
            size = sum(path.stat().st_size for path in Path(folder).glob(f"{method}.ark")) / 1024**2
            print(f"{before:.0f}, {resident_mib():.0f} ({size:.0f} MiB)", flush=True)
            for path in Path(folder).iterdir():
                path.unlink()


if __name__ == "__main__":
    main()

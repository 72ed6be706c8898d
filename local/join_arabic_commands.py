#!/usr/bin/env python3
"""Utterances of several words from the Arabic speech commands, whose recordings are one word of one second each."""

import logging
import re
from collections import defaultdict
from pathlib import Path

import click
import numpy as np
import soundfile

from pyspk.console import run
from pyspk.errors import UserError, first_few
from pyspk.tables.atomic import atomic_write

log = logging.getLogger("pyspk")
_NAME = re.compile(r"(?P<speaker>.+)-(?P<word>[^-]+)-(?P<round>\d+)")


@click.command()
@click.option("--words", default=4, show_default=True, type=click.IntRange(1), help="words of an utterance")
@click.argument("corpus_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out_dir", type=Path)
def main(words, corpus_dir, out_dir):
    """Write OUT_DIR/SPEAKER/SPEAKER-ROUND-N.flac from CORPUS_DIR/SPEAKER/SPEAKER-WORD-ROUND.flac.

    The words of a round, in order of name, are joined `--words` at a time, the last utterance taking what is left.
    """
    rounds = defaultdict(list)
    paths = sorted(corpus_dir.glob("*/*.flac"))
    for path in paths:
        if (name := _NAME.fullmatch(path.stem)) is None:
            raise UserError(f"{path}: not a name of this corpus, SPEAKER-WORD-ROUND.flac")
        rounds[path.parent.name, name["round"]].append(path)
    if not rounds:
        raise UserError(f"{corpus_dir}: no recordings SPEAKER/SPEAKER-WORD-ROUND.flac in it")
    n_written = 0
    for (speaker, number), recordings in rounds.items():
        for first in range(0, len(recordings), words):
            out = out_dir / speaker / f"{speaker}-{number}-{first // words + 1}.flac"
            join(recordings[first:first + words], out)
            n_written += 1
    log.info("wrote %d utterances of %d recordings to %s", n_written, len(paths), out_dir)


def join(recordings: list[Path], out: Path) -> None:
    """Write `recordings`, one after the other, to `out`. Raises UserError when their sampling rates differ."""
    samples, rates_hz = zip(*(soundfile.read(path, dtype="int16") for path in recordings), strict=True)
    if len(set(rates_hz)) > 1:
        raise UserError(f"{first_few(recordings)}: of different sampling rates")
    with atomic_write(out, "wb") as file:
        soundfile.write(file, np.concatenate(samples), rates_hz[0], format="FLAC")


if __name__ == "__main__":
    run(main)

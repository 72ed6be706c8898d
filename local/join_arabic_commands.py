#!/usr/bin/env python3
"""Utterances of several words from the Arabic speech commands, whose recordings are one word of one second each."""

import logging
import re
from collections import defaultdict
from pathlib import Path

import bootstrap
import click
import numpy as np
import soundfile

from pyspk.audio import load
from pyspk.console import run
from pyspk.errors import UserError, first_few
from pyspk.tables.atomic import atomic_write
from pyspk.tables.records import State, begin
from pyspk.tables.text import write_table

log = logging.getLogger("pyspk")
_NAME = re.compile(r"(?P<speaker>.+)-(?P<word>[^-\d]+)-(?P<round>\d+)")      # and so no name of an OUT_DIR


@click.command()
@click.option("--words", default=4, show_default=True, type=click.IntRange(1), help="words of an utterance")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other recordings or with other --words")
@click.argument("corpus_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out_dir", type=Path)
def main(words, overwrite, corpus_dir, out_dir):
    """Write OUT_DIR/SPEAKER/SPEAKER-ROUND-N.flac from CORPUS_DIR/SPEAKER/SPEAKER-WORD-ROUND.flac.

    The words of a round, in order of name, are joined `--words` at a time, the last utterance taking what is left.
    OUT_DIR/sources names the recordings of each utterance, and appears when all are there.
    """
    sources = out_dir / "sources"
    if any(out_dir.glob("[!.]*")) and not (out_dir / ".made" / "sources.json").exists():
        raise UserError(f"{out_dir} holds something else already; name another folder")
    utts = group_words(corpus_dir, words)
    inputs = {recording.stem: recording for recordings in utts.values() for recording in recordings}
    if begin(sources, {"words": words}, inputs, overwrite, parts=sorted(out_dir.glob("*/*.flac"))) is State.CURRENT:
        return log.info("%s is current", out_dir)
    for utt, recordings in utts.items():
        out = out_dir / recordings[0].parent.name / f"{utt}.flac"
        if not out.exists():                # a run that was stopped got as far as this
            join(recordings, out)
    write_table(sources, {utt: " ".join(recording.stem for recording in recordings)
                          for utt, recordings in utts.items()})
    log.info("wrote %d utterances of %d recordings to %s", len(utts), len(inputs), out_dir)


def group_words(corpus_dir: Path, words: int) -> dict[str, list[Path]]:
    """Utterance -> its recordings, at most `words`. Raises UserError for a wrong name, and when there is none."""
    rounds = defaultdict(list)
    for path in sorted(corpus_dir.glob("*/*.flac")):
        name = _NAME.fullmatch(path.stem)
        if name is None or name["speaker"] != path.parent.name:
            raise UserError(f"{path}: not a name of this corpus, SPEAKER/SPEAKER-WORD-ROUND.flac")
        rounds[f"{name['speaker']}-{name['round']}"].append(path)
    if not rounds:
        raise UserError(f"{corpus_dir}: no recordings SPEAKER/SPEAKER-WORD-ROUND.flac in it")
    return {f"{name}-{first // words + 1}": recordings[first:first + words]
            for name, recordings in rounds.items() for first in range(0, len(recordings), words)}


def join(recordings: list[Path], out: Path) -> None:
    """Write `recordings`, one after the other, to `out`. Raises UserError when one is unreadable, or they differ."""
    samples, rates_hz = zip(*(load(str(path)) for path in recordings), strict=True)
    if len({(rate_hz, *part.shape[1:]) for part, rate_hz in zip(samples, rates_hz, strict=True)}) > 1:
        raise UserError(f"{first_few(recordings)}: of different sampling rates or numbers of channels")
    joined = np.rint(np.concatenate(samples)).clip(-32768, 32767).astype(np.int16)
    with atomic_write(out, "wb") as file:
        soundfile.write(file, joined, rates_hz[0], format="FLAC")


if __name__ == "__main__":
    run(main)

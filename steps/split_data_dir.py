#!/usr/bin/env python3
"""Write the parts of a data directory."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--per-utt", is_flag=True, help="split speakers too; the parts go to DATA_DIR/splitNutt/")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("data_dir", type=Path)
@click.argument("n", type=click.IntRange(1))
def main(per_utt, overwrite, data_dir, n):
    """Write DATA_DIR/splitN/1/ to DATA_DIR/splitN/N/, whole speakers in each, as even in utterances as they allow."""
    from pyspk.datadir.directory import DataDir
    from pyspk.datadir.parts import check_sources, inputs_of, outputs, write_parts
    from pyspk.datadir.split import by_speaker, by_utterance

    check_sources([data_dir])
    folder = data_dir / f"split{n}{'utt' if per_utt else ''}"
    places = [folder / str(number) for number in range(1, n + 1)]
    # The last directory is written last, its utt2spk at the very end: with it all are whole.
    parts = [file for place in places for file in outputs(place)] + [place / "utt2spk" for place in places[:-1]]
    if begin(places[-1] / "utt2spk", {}, inputs_of([data_dir]), overwrite, parts=parts) is State.CURRENT:
        return log.info("%s is current", folder)

    data = DataDir(data_dir)
    shares = by_utterance(list(data.utt2spk), n) if per_utt else by_speaker(data.spk2utt, n)
    write_parts(data_dir, dict(zip(places, shares, strict=True)))
    return log.info("wrote %d utterances in %d parts to %s", len(data.utt2spk), n, folder)


if __name__ == "__main__":
    run(main)

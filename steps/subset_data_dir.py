#!/usr/bin/env python3
"""Write a data directory of some of the utterances of another."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--first", is_flag=True, help="the first N utterances")
@click.option("--last", is_flag=True, help="the last N")
@click.option("--shortest", is_flag=True, help="the N shortest, by utt2num_frames, utt2dur or segments")
@click.option("--speakers", is_flag=True, help="all of some speakers, just enough for N utterances")
@click.option("--per-spk", is_flag=True, help="N of each speaker, spread evenly; all of who has fewer")
@click.option("--utt-list", type=Path, metavar="FILE", help="the utterances in the first column of FILE")
@click.option("--spk-list", type=Path, metavar="FILE", help="those of the speakers in the first column of FILE")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("places", nargs=-1, metavar="SRC [N] DEST")
def main(first, last, shortest, speakers, per_spk, utt_list, spk_list, overwrite, places):
    """Write DEST, N utterances of SRC with all that its tables say of them.

    Without an option the N utterances are spread evenly over SRC. --utt-list and --spk-list take no N.
    """
    from pyspk.datadir.directory import DataDir
    from pyspk.datadir.parts import check_sources, inputs_of, outputs, write_parts
    from pyspk.datadir.subset import SELECTIONS, listed_speakers, listed_utts

    ways = {"first": first, "last": last, "shortest": shortest, "speakers": speakers, "per-spk": per_spk,
            "utt-list": utt_list, "spk-list": spk_list}
    how, *more = [way for way, given in ways.items() if given] or ["evenly"]
    if more:
        raise click.UsageError(f"--{how} and --{more[0]} are two selections; give one")
    file = utt_list or spk_list
    if len(places) != (2 if file else 3):
        raise click.UsageError(f"the arguments are {'SRC DEST with a list' if file else 'SRC N DEST'}, not "
                               f'"{" ".join(places)}"')
    source, dest = Path(places[0]), Path(places[-1])
    n = None if file else click.IntRange(1).convert(places[1], None, None)
    check_sources([source], dest)
    settings = {"how": how, "n": n}
    inputs = inputs_of([source]) | ({"list": file} if file else {})
    if begin(dest / "utt2spk", settings, inputs, overwrite, parts=outputs(dest)) is State.CURRENT:
        return log.info("%s is current", dest)

    data = DataDir(source)
    if utt_list:
        utts = listed_utts(data, utt_list)
    else:
        utts = listed_speakers(data, spk_list) if spk_list else SELECTIONS[how](data, n)
    write_parts(source, {dest: utts})
    return log.info("wrote %d of %d utterances to %s", len(utts), len(data.utt2spk), dest)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Write several data directories as one."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--skip", multiple=True, metavar="TABLE", help="leave this table out, such as cmvn.scp; may come again")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("dest", type=Path)
@click.argument("sources", nargs=-1, required=True, type=Path)
def main(skip, overwrite, dest, sources):
    """Write DEST, the utterances of all SOURCES with the tables that all of them have.

    A key in two sources must have the same value in both. Where only some have segments, the others' are made from
    utt2dur.
    """
    from pyspk.datadir.combine import combine, plan
    from pyspk.datadir.parts import check_sources, inputs_of, outputs

    check_sources(sources, dest)
    names, dropped = plan(sources, skip)
    for sentence in dropped:
        log.warning("%s", sentence)
    settings = {"skip": sorted(skip), "sources": list(map(str, sources))}
    if begin(dest / "utt2spk", settings, inputs_of(sources), overwrite, parts=outputs(dest)) is State.CURRENT:
        return log.info("%s is current", dest)
    return log.info("wrote %d utterances of %d directories to %s", combine(dest, sources, names), len(sources), dest)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Mend a data directory in place."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run

log = logging.getLogger("pyspk")


@click.command()
@click.argument("data_dir", type=Path)
def main(data_dir):
    """Sort the tables of DATA_DIR, keep the utterances that all have, make spk2utt from utt2spk.

    What is left out is named; each file that changes is first copied to DATA_DIR/.backup/. Exit 1, and nothing changed,
    where a person must decide.
    """
    from pyspk.datadir.fix import BACKUP, fix
    from pyspk.datadir.validate import check

    fixed = fix(data_dir)
    for note in fixed.left_out:
        log.warning("%s", note)
    if fixed.changed:
        log.info("changed %s; what they were is in %s", ", ".join(fixed.changed), data_dir / BACKUP)
    for faults in check(data_dir, ["--no-feats", "--no-text", "--no-wav"]):
        faults.refuse()
    log.info("wrote %d of the tables of %d utterances to %s", len(fixed.changed), fixed.n_utts, data_dir)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Write the cosine score of each trial."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import force_option, no_pipes_option, run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--subtract-mean", "mean", metavar="MEAN", help="a vector to take off each embedding: FILE or ARK:OFFSET")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@force_option
@no_pipes_option
@click.argument("trials", type=Path)
@click.argument("enroll_scp", type=Path)
@click.argument("test_scp", type=Path)
@click.argument("out", type=Path)
def main(mean, overwrite, force, no_pipes, trials, enroll_scp, test_scp, out):
    """Write "ENROLL TEST SCORE" to OUT for each line of TRIALS.

    TRIALS has lines "ENROLL TEST target|nontarget", or is a list of VoxCeleb's. ENROLL_SCP and TEST_SCP hold the
    embeddings; they may be the same file.
    """
    settings, inputs = {}, {"trials": trials, "enroll scp": enroll_scp, "test scp": test_scp}
    if mean:
        from pyspk.tables.archive import locate
        inputs["mean"], settings["mean offset"] = locate(mean)[:2]
    if begin(out, settings, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.needs.checks import check_scores
    from pyspk.scoring.cosine import score_file
    check_scores(out, trials, force)
    n_scores = score_file(trials, enroll_scp, test_scp, out, mean, no_pipes)
    return log.info("wrote %d scores to %s", n_scores, out)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Write the adaptive s-norm of each cosine score."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import force_option, no_pipes_option, run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--top-n", type=click.IntRange(min=2), default=300, show_default=True,
              help="how many of the highest cohort scores count")
@click.option("--subtract-mean", "mean", metavar="MEAN", help="the vector that was taken off for SCORES")
@click.option("--test-scp", type=Path, metavar="SCP", help="the test embeddings, if EVAL_SCP has only the enroll side")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@force_option
@no_pipes_option
@click.argument("scores", type=Path)
@click.argument("eval_scp", type=Path)
@click.argument("cohort_scp", type=Path)
@click.argument("out", type=Path)
def main(top_n, mean, test_scp, overwrite, force, no_pipes, scores, eval_scp, cohort_scp, out):
    """Write SCORES, normalised by the highest cosines of each side against a cohort, to OUT.

    EVAL_SCP holds the embeddings of both sides; COHORT_SCP those of other speakers, best one for each speaker.
    """
    settings, inputs = {"top-n": top_n}, {"scores": scores, "eval scp": eval_scp, "cohort scp": cohort_scp}
    if test_scp:
        inputs["test scp"] = test_scp
    if mean:
        from pyspk.tables.archive import locate
        inputs["mean"], settings["mean offset"] = locate(mean)[:2]
    if begin(out, settings, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.needs.checks import check_scores
    from pyspk.scoring.asnorm import normalize_file
    check_scores(out, scores, force)
    n_scores = normalize_file(scores, eval_scp, cohort_scp, out, top_n, mean, test_scp, no_pipes)
    return log.info("wrote %d scores to %s", n_scores, out)


if __name__ == "__main__":
    run(main)

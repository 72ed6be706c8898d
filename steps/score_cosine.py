#!/usr/bin/env python3
"""Write the cosine score of each trial."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import enrollment_options, force_option, no_pipes_option, run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--subtract-mean", "mean", metavar="MEAN", help="a vector to take off each embedding: FILE or ARK:OFFSET")
@enrollment_options
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:1, ...: files take longer to "
              "read and to write than scores to compute, so that a GPU gains little")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@force_option
@no_pipes_option
@click.argument("trials", type=Path)
@click.argument("enroll_scp", type=Path)
@click.argument("test_scp", type=Path)
@click.argument("out", type=Path)
def main(mean, enroll_map, enroll_average, device, overwrite, force, no_pipes, trials, enroll_scp, test_scp, out):
    """Write "ENROLL TEST SCORE" to OUT for each line of TRIALS.

    TRIALS has lines "ENROLL TEST target|nontarget", or is a list of VoxCeleb's. ENROLL_SCP and TEST_SCP hold the
    embeddings; they may be the same file. With --enroll-map a model is compared, of one utterance or several.
    """
    settings, inputs = {}, {"trials": trials, "enroll scp": enroll_scp, "test scp": test_scp}
    if mean:
        from pyspk.tables.archive import locate
        inputs["mean"], settings["mean offset"] = locate(mean)[:2]
    if enroll_map:
        inputs["enroll map"], settings["enroll average"] = enroll_map, enroll_average
    if begin(out, settings, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.needs.checks import check_scores
    from pyspk.scoring.cosine import Enrollment, score_file
    from pyspk.tables.archive import refuse_commands_in
    if no_pipes:
        refuse_commands_in(enroll_scp, test_scp, vector=mean)
    if device != "cpu":
        from pyspk.model import choose_device
        device = str(choose_device(device))
    check_scores(out, trials, force)
    enrollment = Enrollment(enroll_map, enroll_average) if enroll_map else None
    n_scores = score_file(trials, enroll_scp, test_scp, out, mean, enrollment, device)
    return log.info("wrote %d scores to %s", n_scores, out)


if __name__ == "__main__":
    run(main)

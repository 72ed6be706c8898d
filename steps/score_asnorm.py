#!/usr/bin/env python3
"""Write each cosine score, normalised against a cohort: adaptive s-norm, or another score norm."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import enrollment_options, force_option, no_pipes_option, run
from pyspk.errors import UserError
from pyspk.scoring.folder import files_of
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--norm", type=click.Choice(["as1", "as2", "s", "z", "t"]), default="as1", show_default=True,
              help="adaptive s-norm by each side's own cohort, or by the other side's; s-, z- or t-norm")
@click.option("--top-n", type=click.IntRange(min=2), default=300, show_default=True,
              help="how many of the cohort count in as1 and as2")
@click.option("--subtract-mean", "mean", metavar="MEAN", help="the vector that was taken off for SCORES")
@click.option("--test-scp", type=Path, metavar="SCP", help="the test embeddings, if EVAL_SCP has only the enroll side")
@enrollment_options
@click.option("--plda", "plda_dir", type=Path, metavar="PLDA_DIR", help="SCORES are of this PLDA, not cosines")
@click.option("--normalize-length", is_flag=True, help="of --plda: as for SCORES")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@force_option
@no_pipes_option
@click.argument("scores", type=Path)
@click.argument("eval_scp", type=Path)
@click.argument("cohort_scp", type=Path)
@click.argument("out", type=Path)
def main(norm, top_n, mean, test_scp, enroll_map, enroll_average, plda_dir, normalize_length, device, overwrite, force,
         no_pipes, scores, eval_scp, cohort_scp, out):
    """Write SCORES, normalised by the scores of each side against a cohort, to OUT.

    EVAL_SCP holds the embeddings of both sides; COHORT_SCP those of other speakers, utterances or, best, one mean for
    each speaker. --enroll-map and --enroll-average as SCORES were made with.
    """
    settings, inputs = {"top-n": top_n}, {"scores": scores, "eval scp": eval_scp, "cohort scp": cohort_scp}
    if norm != "as1":
        settings = {"norm": norm} | (settings if norm == "as2" else {})
    if test_scp:
        inputs["test scp"] = test_scp
    if mean:
        from pyspk.tables.archive import locate
        inputs["mean"], settings["mean offset"] = locate(mean)[:2]
    if enroll_map:
        inputs["enroll map"], settings["enroll average"] = enroll_map, enroll_average
    if plda_dir and (mean or enroll_average != "embedding"):
        raise UserError("--plda has a mean and averages of its own; leave --subtract-mean and --enroll-average out")
    if normalize_length and not plda_dir:
        raise UserError("--normalize-length is for scores of --plda; leave it out")
    if plda_dir:
        settings["normalize-length"] = normalize_length
        inputs |= files_of(plda_dir)
    if begin(out, settings, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.model import choose_device
    from pyspk.needs.checks import check_scores
    from pyspk.scoring.cosine import Enrollment
    from pyspk.scoring.norms import normalize_file, normalize_plda_file
    from pyspk.tables.archive import refuse_commands_in
    if no_pipes:
        refuse_commands_in(eval_scp, cohort_scp, *([test_scp] if test_scp else []), vector=mean)
    check_scores(out, scores, force)
    if plda_dir:
        n_scores = normalize_plda_file(plda_dir, scores, eval_scp, cohort_scp, out, top_n, test_scp, norm, enroll_map,
                                       normalize_length, choose_device(device))
    else:
        enrollment = Enrollment(enroll_map, enroll_average) if enroll_map else None
        n_scores = normalize_file(scores, eval_scp, cohort_scp, out, top_n, mean, test_scp, norm, enrollment,
                                  choose_device(device))
    return log.info("wrote %d scores to %s", n_scores, out)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Write a quality measure of each utterance, for calibration."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import no_pipes_option, run
from pyspk.datadir import DataDir
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")
overwrite_option = click.option("--overwrite", is_flag=True, help="make anew what was made otherwise")


@click.group()
def main():
    """Write a number for each utterance, which calibrate.py and apply_calibration.py take as --quality."""


@main.command()
@overwrite_option
@no_pipes_option
@click.argument("data_dir", type=Path)
@click.argument("out", type=Path)
def duration(overwrite, no_pipes, data_dir, out):
    """Write the logarithm of the seconds of speech of each utterance in DATA_DIR to OUT."""
    data = DataDir(data_dir, no_pipes)
    inputs = data.inputs("utt2spk", optional=["vad.scp", "utt2num_frames", "utt2dur", "frame_shift"])
    if begin(out, {"measure": "duration"}, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.calibration.measures import write_log_durations
    return log.info("wrote %d durations to %s", write_log_durations(data, out), out)


@main.command()
@overwrite_option
@no_pipes_option
@click.argument("xvector_scp", type=Path)
@click.argument("out", type=Path)
def norm(overwrite, no_pipes, xvector_scp, out):
    """Write the norm of each embedding of XVECTOR_SCP to OUT."""
    if begin(out, {"measure": "norm"}, {"xvector scp": xvector_scp}, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.calibration.measures import write_norms
    from pyspk.tables.archive import refuse_commands_in
    if no_pipes:
        refuse_commands_in(xvector_scp)
    return log.info("wrote %d norms to %s", write_norms(xvector_scp, out), out)


@main.command()
@click.option("--top-n", type=click.IntRange(min=2), default=300, show_default=True,
              help="how many of the highest cohort scores count")
@click.option("--subtract-mean", "mean", metavar="MEAN", help="a vector to take off each embedding first")
@overwrite_option
@no_pipes_option
@click.argument("xvector_scp", type=Path)
@click.argument("cohort_scp", type=Path)
@click.argument("out", type=Path)
def cohort(top_n, mean, overwrite, no_pipes, xvector_scp, cohort_scp, out):
    """Write the mean of the highest cosines of each embedding of XVECTOR_SCP against COHORT_SCP to OUT."""
    settings = {"measure": "cohort", "top-n": top_n}
    inputs = {"xvector scp": xvector_scp, "cohort scp": cohort_scp}
    if mean:
        from pyspk.tables.archive import locate
        inputs["mean"], settings["mean offset"] = locate(mean)[:2]
    if begin(out, settings, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.calibration.measures import write_cohort_means
    from pyspk.tables.archive import refuse_commands_in
    if no_pipes:
        refuse_commands_in(xvector_scp, cohort_scp, vector=mean)
    n_means = write_cohort_means(xvector_scp, cohort_scp, out, top_n, mean)
    return log.info("wrote %d cohort means to %s", n_means, out)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Write the log-likelihood ratio of each trial, by a calibration of its scores."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--quality", "qualities", type=Path, metavar="FILE", multiple=True,
              help="the quality measures that CALIBRATION takes, of these utterances, in its order")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("calibration", type=Path)
@click.argument("scores", type=Path, nargs=-1, required=True)
@click.argument("out", type=Path)
def main(qualities, overwrite, calibration, scores, out):
    """Write the natural log-likelihood ratios that CALIBRATION (calibrate.py) makes of SCORES to OUT.

    SCORES: a file of each system, in the order of the calibration, with the endings that its files had.
    """
    inputs = {"calibration": calibration} | {f"scores {number}": path for number, path in enumerate(scores, start=1)}
    inputs |= {f"quality {number}": path for number, path in enumerate(qualities, start=1)}
    if begin(out, {}, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.calibration import Calibration
    from pyspk.calibration.files import apply_files
    n_scores = apply_files(Calibration.load(calibration), scores, out, qualities)
    return log.info("wrote %d log-likelihood ratios to %s", n_scores, out)


if __name__ == "__main__":
    run(main)

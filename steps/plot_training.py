#!/usr/bin/env python3
"""Draw the training curves of one or several experiments."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run

log = logging.getLogger("pyspk")


@click.command()
@click.option("--output", type=Path, default=Path("training.png"), show_default=True, metavar="FILE",
              help="a .png, .svg or .pdf")
@click.argument("exp_dirs", type=Path, nargs=-1, required=True, metavar="EXP_DIR...")
def main(output, exp_dirs):
    """Draw loss, validation EER, gradient, rate, margin, bias and speed of each EXP_DIR over its epochs.

    A run that is still going on is drawn as far as it is.
    """
    from pyspk.training.curves import plot_runs, read_reports

    logging.getLogger("matplotlib").setLevel(logging.ERROR)      # it would tell where it keeps its fonts
    runs = {str(folder): read_reports(folder) for folder in exp_dirs}
    plot_runs(runs, output)
    log.info("wrote the curves of %d experiments to %s", len(runs), output)


if __name__ == "__main__":
    run(main)

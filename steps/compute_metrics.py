#!/usr/bin/env python3
"""Print a table of EER and minDCF, one row for each score file."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.tables.records import State, begin
from pyspk.tables.text import read_text, write_lines

log = logging.getLogger("pyspk")


@click.command()
@click.option("--p-target", "p_targets", type=click.FloatRange(0, 1, min_open=True, max_open=True), multiple=True,
              default=(0.01, 0.05), show_default=True, help="prior of a target trial in minDCF; may be given again")
@click.option("--utt2spk", type=Path, metavar="FILE", help="the speakers; without it, as the target trials tell")
@click.option("--output", type=Path, metavar="FILE", help="write the table here as well")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("trials", type=Path)
@click.argument("scores", type=Path, nargs=-1, required=True)
def main(p_targets, utt2spk, output, overwrite, trials, scores):
    """Print the EER with its 95% interval over speakers, and minDCF, of each file of SCORES on TRIALS."""
    inputs = {"trials": trials} | {f"scores {number}": path for number, path in enumerate(scores, start=1)}
    if utt2spk:
        inputs["utt2spk"] = utt2spk
    settings = {"p-target": p_targets, "scores": [path.name for path in scores]}
    if output and begin(output, settings, inputs, overwrite) is State.CURRENT:
        click.echo(read_text(output), nl=False)
        return log.info("%s is current", output)

    from pyspk.scoring.table import metrics_table
    table = metrics_table(trials, scores, p_targets, utt2spk)
    click.echo("\n".join(table))
    if output:
        write_lines(output, table)
    return log.info("wrote %d rows to %s", len(scores), output or "standard output")


if __name__ == "__main__":
    run(main)

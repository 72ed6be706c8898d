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
cost = click.FloatRange(0, min_open=True)


@click.command()
@click.option("--p-target", "p_targets", type=click.FloatRange(0, 1, min_open=True, max_open=True), multiple=True,
              default=(0.01, 0.05), show_default=True, help="prior of a target trial in minDCF; may be given again")
@click.option("--c-miss", type=cost, default=1.0, show_default=True, help="what a miss costs")
@click.option("--c-fa", type=cost, default=1.0, show_default=True, help="what a false alarm costs")
@click.option("--all", "everything", is_flag=True,
              help="EER on the convex hull, actDCF, Cllr and min Cllr too; scores count as log-likelihood ratios")
@click.option("--groups", type=Path, metavar="FILE", multiple=True,
              help="utterance to group (gender, language, seconds, ...): a table of its own; may be given again")
@click.option("--det", type=Path, metavar="FILE", help="draw the DET curves: .png, .svg or .pdf")
@click.option("--utt2spk", type=Path, metavar="FILE", help="the speakers; without it, as the target trials tell")
@click.option("--output", type=Path, metavar="FILE", help="write the table here as well")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("trials", type=Path)
@click.argument("scores", type=Path, nargs=-1, required=True)
def main(p_targets, c_miss, c_fa, everything, groups, det, utt2spk, output, overwrite, trials, scores):
    """Print the EER with its 95% interval over speakers, and minDCF, of each file of SCORES on TRIALS.

    With --groups, which may also be speaker to group where --utt2spk is given, the same for the trials of each pair of
    groups, and the error rates of each at the threshold of the EER of all trials.
    """
    inputs = {"trials": trials} | {f"scores {number}": path for number, path in enumerate(scores, start=1)}
    names = {"scores": [path.name for path in scores]}
    if det:
        draw_det(det, names, inputs, overwrite, trials, scores)
    inputs |= {f"groups {number}": path for number, path in enumerate(groups, start=1)}
    if utt2spk:
        inputs["utt2spk"] = utt2spk
    settings = names | {"p-target": p_targets, **({"c-miss": c_miss, "c-fa": c_fa} if (c_miss, c_fa) != (1, 1) else {}),
                        **({"all": True} if everything else {})}
    if output and begin(output, settings, inputs, overwrite) is State.CURRENT:
        click.echo(read_text(output), nl=False)
        return log.info("%s is current", output)

    from pyspk.scoring.groups import groups_table
    from pyspk.scoring.table import metrics_table
    table = metrics_table(trials, scores, p_targets, utt2spk, c_miss, c_fa, everything)
    for path in groups:
        table += ["", *groups_table(trials, scores, path, p_targets, utt2spk, c_miss, c_fa)]
    click.echo("\n".join(table))
    if output:
        write_lines(output, table)
    return log.info("wrote %d rows to %s", len(scores), output or "standard output")


def draw_det(det, settings, inputs, overwrite, trials, scores):
    """Draw the DET curves, unless they are current."""
    if begin(det, settings, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", det)
    from pyspk.scoring.det import plot_det
    plot_det(trials, scores, det)
    return log.info("wrote %d DET curves to %s", len(scores), det)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Write a calibration: from scores, of one system or several, to log-likelihood ratios."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.tables.records import State, begin
from pyspk.tables.text import read_text, write_lines

log = logging.getLogger("pyspk")
probability = click.FloatRange(0, 1, min_open=True, max_open=True)
cost = click.FloatRange(0, min_open=True)


@click.command()
@click.option("--prior", type=probability, default=0.05, show_default=True,
              help="where the calibration must be best: the prior of a target trial that it is trained at")
@click.option("--quality", "qualities", type=Path, metavar="FILE", multiple=True,
              help="a quality measure (compute_quality.py) of the utterances in TRIALS; may be given again")
@click.option("--utt2spk", type=Path, metavar="FILE", help="the speakers; without it, as the target trials tell")
@click.option("--p-target", "p_targets", type=probability, multiple=True, default=(0.01, 0.05, 0.5), show_default=True,
              help="prior to say the threshold and its cost for; may be given again")
@click.option("--c-miss", type=cost, default=1.0, show_default=True, help="what a miss costs")
@click.option("--c-fa", type=cost, default=1.0, show_default=True, help="what a false alarm costs")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("trials", type=Path)
@click.argument("scores", type=Path, nargs=-1, required=True)
@click.argument("out", type=Path)
def main(prior, qualities, utt2spk, p_targets, c_miss, c_fa, overwrite, trials, scores, out):
    """Fit log-likelihood ratios to the SCORES of TRIALS, none of them of an evaluation, and write them to OUT (JSON).

    Several files of SCORES, one of each system, are fused. Printed, and kept in OUT.costs: the threshold for each prior
    and what it costs, measured on one half of the speakers by a calibration of the other.
    """
    inputs = {"trials": trials} | {f"scores {number}": path for number, path in enumerate(scores, start=1)}
    inputs |= {f"quality {number}": path for number, path in enumerate(qualities, start=1)}
    if utt2spk:
        inputs["utt2spk"] = utt2spk
    table_path = out.with_name(f"{out.name}.costs")
    settings = {"prior": prior, "p-target": p_targets, "c-miss": c_miss, "c-fa": c_fa,
                "names": [path.name for path in (*scores, *qualities)]}
    if begin(out, settings, inputs, overwrite, [table_path], along=[table_path]) is State.CURRENT:
        click.echo(read_text(table_path), nl=False)
        return log.info("%s is current", out)

    from pyspk.calibration.files import fit_files, in_words
    from pyspk.metrics import Cost
    costs = [Cost(p_target, c_miss, c_fa) for p_target in p_targets]
    calibration, table = fit_files(trials, scores, prior, costs, qualities, utt2spk)
    click.echo("\n".join(table))
    write_lines(table_path, table)
    calibration.save(out)
    return log.info("wrote %s to %s", in_words(calibration), out)


if __name__ == "__main__":
    run(main)

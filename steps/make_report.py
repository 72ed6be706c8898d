#!/usr/bin/env python3
"""Write the page that shows how good a system is and where it fails."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import Finite, no_pipes_option, run
from pyspk.errors import UserError
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--trials", type=Path, metavar="FILE", help="the trial list, if not WORK/data/trials/LIST")
@click.option("--data", type=Path, metavar="DIR",
              help="the data directory of its utterances (utt2spk, wav.scp, utt2x), if not WORK/data/LIST")
@click.option("--groups", "tables", type=Path, multiple=True, metavar="FILE",
              help="one more table to group the trials by, such as utt2lang; may be given again")
@click.option("--scores", "kind", metavar="KIND",
              help="what to look at closely: cosine, asnorm, ...  [the last that the recipe makes]")
@click.option("--p-target", "p_targets", type=click.FloatRange(0, 1, min_open=True, max_open=True), multiple=True,
              default=(0.01, 0.05), show_default=True, help="prior of a target trial in the costs; may be given again")
@click.option("--audio-mb", type=Finite(0), default=6.0, show_default=True,
              help="at most so many megabytes of recordings; 0 for none")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@no_pipes_option
@click.argument("exps", nargs=-1, required=True, type=Path, metavar="EXP... [OUT.html]")
def main(trials, data, tables, kind, p_targets, audio_mb, overwrite, no_pipes, exps):
    """Write all that is known about EXP, WORK/exp/NAME, to one page, EXP/report.html or OUT.html.

    Of several EXP, scored on the same trials, it is a comparison, and OUT.html must be given. The page opens anywhere:
    it holds its pictures and recordings, runs no script and asks for nothing.
    """
    *folders, out = exps if exps[-1].suffix == ".html" else (*exps, None)
    if not folders:
        raise UserError(f"{out}: which experiment is it about? make_report.py EXP... [OUT.html]")
    if out is None and len(folders) > 1:
        raise UserError("say where to write a comparison: make_report.py EXP... OUT.html")
    out = out or folders[0] / "report.html"

    from pyspk.report.experiment import find_experiments, find_trial_data, inputs_of
    experiments = find_experiments(folders, trials)
    trial_data = find_trial_data(experiments[0], data, tables)
    settings = {"experiments": [one.name for one in experiments], "p-target": p_targets, "audio-mb": audio_mb,
                "scores": [one.kind(kind) for one in experiments]}
    if begin(out, settings, inputs_of(experiments, trial_data), overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.report.make import make_report
    n_clips = make_report(experiments, trial_data, out, kind, p_targets, audio_mb, no_pipes)
    return log.info("wrote the page about %d experiments, with %d recordings to play, to %s", len(experiments), n_clips,
                    out)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Write trials among speakers that a network was not trained on, to calibrate with."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.tables.records import State, begin
from pyspk.tables.text import write_table

log = logging.getLogger("pyspk")


@click.command()
@click.option("--cohort", type=Path, metavar="SCP",
              help="speakers' embeddings; those in no trial go to OUT_DIR/cohort.scp")
@click.option("--utts-per-speaker", type=click.IntRange(2), default=20, show_default=True, help="at most")
@click.option("--most-nontargets", type=click.IntRange(1), default=500_000, show_default=True,
              help="at most so many trials of two speakers, evenly spaced among all of theirs")
@click.option("--fewest-speakers", type=click.IntRange(2), default=10, show_default=True,
              help="with fewer that were not trained on, take others too, and warn")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("exp_dir", type=Path)
@click.argument("data_dir", type=Path)
@click.argument("out_dir", type=Path)
def main(cohort, utts_per_speaker, most_nontargets, fewest_speakers, overwrite, exp_dir, data_dir, out_dir):
    """Write OUT_DIR/{trials,utt2spk} of the speakers in DATA_DIR that the network in EXP_DIR was not trained on.

    DATA_DIR is what it was trained on (of which training held some speakers out to validate), or any other.
    """
    data, spk2id, out = DataDir(data_dir), exp_dir / "spk2id", out_dir / "trials"
    if not spk2id.exists():
        raise UserError(f"{spk2id}: no such file; train.py writes it. For a network trained elsewhere, and on none of "
                        "the speakers here, an empty file will do")
    inputs = data.inputs("utt2spk") | {"spk2id": spk2id} | ({"cohort": cohort} if cohort else {})
    settings = {"utts-per-speaker": utts_per_speaker, "most-nontargets": most_nontargets,
                "fewest-speakers": fewest_speakers}
    parts = [out_dir / "utt2spk", out_dir / "cohort.scp"]
    if begin(out, settings, inputs, overwrite, parts, along=parts if cohort else parts[:1]) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.training.trials import choose_speakers, write_cohort, write_trials
    chosen = choose_speakers(data, spk2id, utts_per_speaker, fewest_speakers)
    write_table(parts[0], {utt: spk for spk, utts in chosen.items() for utt in utts})
    if cohort:
        log.info("wrote %d speakers to %s", write_cohort(cohort, chosen, parts[1]), parts[1])
    n_target, n_nontarget = write_trials(out, chosen, most_nontargets)
    return log.info("wrote %d target and %d nontarget trials of %d speakers to %s", n_target, n_nontarget, len(chosen),
                    out)


if __name__ == "__main__":
    run(main)

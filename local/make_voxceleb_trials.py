#!/usr/bin/env python3
"""Stage 1: the trials of a VoxCeleb list in Kaldi's form, for a data directory that has all of its utterances."""

import logging
import re
from pathlib import Path

import bootstrap
import click
import numpy as np
from corpora.voxceleb import META_URL

from pyspk.console import run
from pyspk.datadir import DataDir
from pyspk.errors import UserError, first_few
from pyspk.scoring.trials import Trials, kaldi_name, read_trials
from pyspk.tables.records import State, begin
from pyspk.tables.text import write_lines

# O, E and H, first the original and then the cleaned list. Those of O are counted; E and H as the literature has them.
N_TRIALS = {"veri_test.txt": 37_720, "veri_test2.txt": 37_611, "list_test_all.txt": 581_480,
            "list_test_all2.txt": 579_818, "list_test_hard.txt": 552_536, "list_test_hard2.txt": 550_894}
NEED_DEV = re.compile(r"list_test_(all|hard)2?\.txt")

log = logging.getLogger("pyspk")


@click.command()
@click.option("--train-data", multiple=True, type=Path, help="refuse trials with speakers of this data directory; may "
              "be given several times")
@click.option("--overwrite", is_flag=True, help="make anew what was made from another list or other data")
@click.argument("trial_list", type=Path)
@click.argument("eval_data", type=Path)
@click.argument("trials", type=Path)
def main(train_data, overwrite, trial_list, eval_data, trials):
    """Write "ENROLL TEST target|nontarget" lines to TRIALS, in the order of TRIAL_LIST.

    TRIAL_LIST is veri_test.txt (O), list_test_all.txt (E), list_test_hard.txt (H), or the cleaned veri_test2.txt,
    list_test_all2.txt, list_test_hard2.txt, with lines "1 idNNNNN/VIDEO/NNNNN.wav idNNNNN/VIDEO/NNNNN.wav". E and H
    try the speakers of VoxCeleb1 dev too: they are no measure of what was trained on them.
    """
    if not trial_list.exists() and trial_list.name in N_TRIALS:
        raise UserError(f"{trial_list}: no such file; download it from {META_URL}/{trial_list.name}")
    inputs = {"list": trial_list, "eval": eval_data / "utt2spk"}
    inputs |= {f"train{number}": folder / "utt2spk" for number, folder in enumerate(train_data, start=1)}
    evaluated, trained = DataDir(eval_data), [DataDir(folder) for folder in train_data]
    if begin(trials, {}, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", trials)
    listed = read_trials(trial_list)
    n_trials = len(listed.enroll)
    published = N_TRIALS.get(trial_list.name, n_trials)
    if n_trials != published:
        log.warning("%s: %d trials, but the list of this name has %d as published; is it whole?", trial_list,
                    n_trials, published)
    listed = listed._replace(names=[kaldi_name(name) for name in listed.names])
    speakers = speakers_of(listed.names, evaluated, trial_list)
    check_labels(listed, speakers, trial_list)
    for data in trained:
        check_overlap(set(speakers), data, trial_list)
    columns = (listed.enroll.tolist(), listed.test.tolist(), listed.is_target.tolist())
    write_lines(trials, (f"{listed.names[enroll]} {listed.names[test]} {'target' if is_target else 'nontarget'}"
                         for enroll, test, is_target in zip(*columns, strict=True)))
    n_targets = int(listed.is_target.sum())
    log.info("wrote %d target and %d nontarget trials to %s", n_targets, n_trials - n_targets, trials)


def speakers_of(names: list[str], data: DataDir, trial_list: Path) -> list[str]:
    """The speaker of each utterance in `names`. Raises UserError, with counts and names, for those not in `data`."""
    if missing := [name for name in names if name not in data.utt2spk]:
        part = "; it takes make_voxceleb1.py ... all" if NEED_DEV.fullmatch(trial_list.name) else ""
        raise UserError(f"{trial_list}: {len(missing)} of its {len(names)} utterances are not in {data.path} "
                        f"({first_few(missing)}){part or '; make the data directory that this list tries'}")
    return [data.utt2spk[name] for name in names]


def check_labels(trials: Trials, speakers: list[str], trial_list: Path) -> None:
    """Raise UserError when a trial's label is not what the speakers of its two utterances say."""
    number = np.unique(speakers, return_inverse=True)[1]
    wrong = np.flatnonzero((number[trials.enroll] == number[trials.test]) != trials.is_target)
    if wrong.size:
        raise UserError(f"{trial_list}:{wrong[0] + 1}: {len(wrong)} of {len(trials.enroll)} labels do not agree with "
                        "the speakers, this one first; download the list again")


def check_overlap(speakers: set[str], train: DataDir, trial_list: Path) -> None:
    """Raise UserError when `train` has some of the `speakers`, be it as Kaldi's copies at another speed (sp0.9-)."""
    if both := sorted(speakers & {re.sub(r"^sp[0-9.]+-", "", speaker) for speaker in train.spk2utt}):
        raise UserError(f"{trial_list}: {len(both)} of its {len(speakers)} speakers are in the training data "
                        f"{train.path} ({first_few(both)}); train without them, or choose other trials (CN-Celeb's "
                        "speakers of the same ids are others: make_cnceleb.py --prefix cn-)")


if __name__ == "__main__":
    run(main)

"""A plain-text table of error rates, one row for each score file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyspk import metrics
from pyspk.scoring.trials import Trials, look_up, match, read_scores, read_trials
from pyspk.tables.text import read_table


def metrics_table(trials: str | Path, score_files: Sequence[str | Path], p_targets: Sequence[float] = (0.01, 0.05),
                  utt2spk: str | Path | None = None) -> list[str]:
    """A header, then a line for each score file: speakers, trials, EER in % with 95% interval, minDCF at each prior.

    The interval resamples the speakers of utt2spk; without it, those that speakers_from_trials finds.
    Raises UserError as read_trials, read_scores, match and the metrics do.
    """
    listed = read_trials(trials)
    enroll_spk, test_spk = speakers_of(listed, utt2spk)
    n_spk = np.count_nonzero(np.bincount(np.concatenate([enroll_spk, test_spk])))
    n_target = int(np.count_nonzero(listed.is_target))
    rows = [["scores", "speakers", "targets", "nontargets", "EER %", "95% interval",
             *(f"minDCF({p:g})" for p in p_targets)]]
    one_folder = len({Path(path).parent for path in score_files}) == 1
    for path in score_files:
        score = match(listed, read_scores(path), trials, path)
        sides = score[listed.is_target], score[~listed.is_target]
        low, high = metrics.eer_interval(score, listed.is_target, enroll_spk, test_spk)
        name = Path(path).name if one_folder else str(path)
        rows.append([name, str(n_spk), str(n_target), str(len(score) - n_target),
                     f"{100 * metrics.eer(*sides):.3f}", f"{100 * low:.3f}-{100 * high:.3f}",
                     *(f"{metrics.min_dcf(*sides, p_target=p):.4f}" for p in p_targets)])
    return aligned(rows)


def speakers_of(trials: Trials, utt2spk: str | Path | None) -> tuple[np.ndarray, np.ndarray]:
    """The speaker of each trial's enroll and test side, (n,) integers from 0 each."""
    if utt2spk is None:
        return metrics.speakers_from_trials(trials.enroll, trials.test, trials.is_target)
    speaker_of = read_table(utt2spk)
    speaker_of = {spk: spk for spk in speaker_of.values()} | speaker_of     # trials may enroll a whole speaker
    numbers: dict[str, int] = {}
    spk = np.array([numbers.setdefault(name, len(numbers)) for name in look_up(speaker_of, trials.names, utt2spk)])
    return spk[trials.enroll], spk[trials.test]


def aligned(rows: list[list[str]]) -> list[str]:
    """Columns two spaces apart, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]

"""A plain-text table of error rates, one row for each score file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pyspk.metrics import Cost, Evaluation, eer_interval, speakers_from_trials
from pyspk.scoring.trials import Trials, look_up, match, read_scores, read_trials
from pyspk.tables.text import read_table


def metrics_table(trials: str | Path, score_files: Sequence[str | Path], p_targets: Sequence[float] = (0.01, 0.05),
                  utt2spk: str | Path | None = None, c_miss: float = 1.0, c_fa: float = 1.0,
                  everything: bool = False) -> list[str]:
    """A header, then a line for each score file: speakers, trials, EER in % with 95% interval, minDCF at each prior.

    everything: EER on the convex hull, actDCF at each prior, Cllr and min Cllr as well; actDCF and Cllr take the scores
    for natural log-likelihood ratios. The interval resamples the speakers of utt2spk; without it, those that
    speakers_from_trials finds. Raises UserError as read_trials, read_scores, match and the metrics do.
    """
    listed = read_trials(trials)
    speakers = speakers_of(listed, utt2spk)
    costs = [Cost(p, c_miss, c_fa) for p in p_targets]
    rows = [["scores", "speakers", "targets", "nontargets", "EER %", "95% interval", *cost_titles("minDCF", costs),
             *(["EER hull %", *cost_titles("actDCF", costs), "Cllr", "min Cllr"] if everything else [])]]
    for name, score in systems_of(listed, trials, score_files):
        system = Evaluation(score[listed.is_target], score[~listed.is_target])
        low, high = eer_interval(score, listed.is_target, *speakers)
        rows.append([name, str(count_speakers(*speakers)), str(len(system.targets)), str(len(system.nontargets)),
                     f"{100 * system.eer():.3f}", f"{100 * low:.3f}-{100 * high:.3f}",
                     *(f"{system.min_dcf(cost):.4f}" for cost in costs)])
        if everything:
            rows[-1] += [f"{100 * system.eer_hull():.3f}", *(f"{system.act_dcf(cost):.4f}" for cost in costs),
                         f"{system.cllr():.4f}", f"{system.min_cllr():.4f}"]
    return aligned(rows)


def cost_titles(measure: str, costs: Sequence[Cost]) -> list[str]:
    """minDCF(0.01) for each cost; minDCF(0.01, 10, 1) where a miss or a false alarm costs other than 1."""
    return [f"{measure}({cost.p_target:g})" if cost.c_miss == cost.c_fa == 1
            else f"{measure}({cost.p_target:g}, {cost.c_miss:g}, {cost.c_fa:g})" for cost in costs]


def systems_of(listed: Trials, trials: str | Path,
               score_files: Sequence[str | Path]) -> Iterator[tuple[str, np.ndarray]]:
    """(what it is called in a table, the score of each trial (n,)) of each score file, one held at a time.

    It is called by its name if all lie in one folder, else by its path. Raises UserError as read_scores and match do.
    """
    in_one_folder = len({Path(path).parent for path in score_files}) == 1
    for path in score_files:
        yield Path(path).name if in_one_folder else str(path), match(listed, read_scores(path), trials, path)


def count_speakers(enroll_spk: np.ndarray, test_spk: np.ndarray) -> int:
    """How many different ones there are, of integers from 0."""
    return int(np.count_nonzero(np.bincount(np.concatenate([enroll_spk, test_spk]))))


def speakers_of(trials: Trials, utt2spk: str | Path | None) -> tuple[np.ndarray, np.ndarray]:
    """The speaker of each trial's enroll and test side, (n,) integers from 0 each."""
    if utt2spk is None:
        return speakers_from_trials(trials.enroll, trials.test, trials.is_target)
    speaker_of = read_table(utt2spk)
    speaker_of = {spk: spk for spk in speaker_of.values()} | speaker_of     # trials may enroll a whole speaker
    numbers: dict[str, int] = {}
    spk = np.array([numbers.setdefault(name, len(numbers)) for name in look_up(speaker_of, trials.names, utt2spk)])
    return spk[trials.enroll], spk[trials.test]


def aligned(rows: list[list[str]]) -> list[str]:
    """Columns two spaces apart, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]

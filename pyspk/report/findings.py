"""What a report tells of each score file: measures with intervals, the DET curve, both kinds of scores, mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyspk import metrics
from pyspk.report.experiment import CALIBRATED, Experiment
from pyspk.scoring.groups import GroupResult
from pyspk.scoring.table import cost_titles
from pyspk.scoring.trials import Trials, match, read_scores

N_BINS, _N_DET = 60, 400
_EDGE = 0.0005           # so small a share of either side lies beyond the ends, and is drawn in the last bin


@dataclass(frozen=True)
class Finding:
    """One score file. values: measure -> (value, low, high), the interval of 95% over speakers.

    threshold: that of the EER; edges: of the scores' histogram, (N_BINS + 1,); shares: of targets and of nontargets in
    each bin, in %, (N_BINS,) each; quantiles: likewise, of QUANTILES.
    """

    experiment: str
    kind: str
    values: dict[str, tuple[float, float, float]]
    replicates: np.ndarray                            # (n_resamples,) of the EER
    det: tuple[np.ndarray, np.ndarray]                # P_miss, P_fa (k,) each
    threshold: float
    edges: np.ndarray
    shares: tuple[np.ndarray, np.ndarray]
    quantiles: tuple[np.ndarray, np.ndarray]

    @property
    def eer(self) -> float:
        """In [0, 1]."""
        return self.values[EER][0]

    def is_exceeded_by(self, group: GroupResult) -> bool:
        """Whether a group's rate lies above the interval of all trials, or its interval above their rate."""
        value, _, high = self.values[EER]
        return group.eer is not None and (group.eer > high or group.interval[0] > value)


@dataclass(frozen=True)
class Mistake:
    """The most wrongly scored trial of two speakers, or of one, and how many of their trials are wrong."""

    enroll: str
    test: str
    score: float
    n_wrong: int
    n_trials: int


@dataclass(frozen=True)
class Mistakes:
    """worst: the most wrongly scored trials; commonest: the speakers with the most wrong ones, of n_wrong in all."""

    worst: list[Mistake]
    commonest: Mistake
    n_wrong: int
    n_trials: int


@dataclass(frozen=True)
class Close:
    """A close look at one score file: its mistakes, and a table for each way to group the trials, title -> groups."""

    finding: Finding
    false_alarms: Mistakes
    misses: Mistakes
    groups: dict[str, list[GroupResult]]


EER = "EER %"
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def measures_of(kind: str, p_targets: Sequence[float]) -> dict[str, metrics.bootstrap.Measure]:
    """Title -> measure; those that judge a threshold only of calibrated scores, which alone promise one."""
    costs = [metrics.Cost(p_target) for p_target in p_targets]
    found = {EER: metrics.Evaluation.eer}
    found |= {title: lambda one, cost=cost: one.min_dcf(cost)
              for title, cost in zip(cost_titles("minDCF", costs), costs, strict=True)}
    if kind in CALIBRATED:
        found |= {title: lambda one, cost=cost: one.act_dcf(cost)
                  for title, cost in zip(cost_titles("actDCF", costs), costs, strict=True)}
    found["min Cllr"] = metrics.Evaluation.min_cllr
    if kind in CALIBRATED:
        found["Cllr"] = metrics.Evaluation.cllr
    return found


def measure(experiment: Experiment, kind: str, trials: Trials, speakers: tuple[np.ndarray, np.ndarray],
            p_targets: Sequence[float], n_resamples: int = 1000) -> tuple[Finding, np.ndarray]:
    """What the scores of this kind tell, and the scores (n,) in the trials' order.

    speakers: of each trial's sides, (n,) integers each. Raises UserError as read_scores, match and the metrics do.
    """
    path = experiment.scores[kind]
    score = match(trials, read_scores(path), experiment.trials, path)
    both = metrics.Evaluation(score[trials.is_target], score[~trials.is_target])
    measures = measures_of(kind, p_targets)
    drawn = metrics.replicates(score, trials.is_target, *speakers, list(measures.values()), n_resamples)
    values = {title: (one(both), *metrics.interval(drawn[:, column]))
              for column, (title, one) in enumerate(measures.items())}
    sides = both.targets, both.nontargets
    ends = np.quantile(sides[0], [_EDGE, 1 - _EDGE]), np.quantile(sides[1], [_EDGE, 1 - _EDGE])
    low, high = np.min(ends), np.max(ends)
    edges = np.linspace(low, high if high > low else low + 1, N_BINS + 1)
    shares = [100 * np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0] / len(side) for side in sides]
    return Finding(experiment.name, kind, values, drawn[:, 0], both.det(_N_DET), both.eer_threshold(), edges,
                   tuple(shares), tuple(np.quantile(side, QUANTILES) for side in sides)), score


def false_alarms(trials: Trials, score: np.ndarray, speakers: tuple[np.ndarray, np.ndarray], threshold: float,
                 most: int) -> Mistakes:
    """Nontargets above the threshold; of each pair of speakers the highest."""
    one, other = np.minimum(*speakers).astype(np.int64), np.maximum(*speakers).astype(np.int64)
    pair = one * (int(other.max()) + 1) + other
    return _mistakes(trials, ~trials.is_target, score, False, pair, score > threshold, most)


def misses(trials: Trials, score: np.ndarray, speakers: tuple[np.ndarray, np.ndarray], threshold: float,
           most: int) -> Mistakes:
    """Targets not above the threshold; of each speaker the lowest."""
    return _mistakes(trials, trials.is_target, score, True, speakers[0], score <= threshold, most)


def _mistakes(trials: Trials, side: np.ndarray, score: np.ndarray, lowest: bool, owner: np.ndarray,
              is_wrong: np.ndarray, most: int) -> Mistakes:
    """Of one side's trials the lowest or highest of each owner, worst first; of equal ones the first in the list."""
    some = np.flatnonzero(side)
    order = some[np.argsort(score[some] if lowest else -score[some], kind="stable")]
    _, first, number, n_trials = np.unique(owner[order], return_index=True, return_inverse=True, return_counts=True)
    n_wrong = np.bincount(number, weights=is_wrong[order]).astype(int)

    def mistake(number: int) -> Mistake:
        trial = order[first[number]]
        return Mistake(trials.names[trials.enroll[trial]], trials.names[trials.test[trial]], float(score[trial]),
                       int(n_wrong[number]), int(n_trials[number]))

    return Mistakes([mistake(number) for number in np.argsort(first)[:most]], mistake(int(np.argmax(n_wrong))),
                    int(n_wrong.sum()), len(some))

"""How well scores tell target from nontarget trials: EER, minDCF, and an interval for the EER.

A trial is accepted when its score lies above the threshold. P_miss is the share of target trials rejected, P_fa
the share of nontarget trials accepted. Trials of equal score fall on the same side of every threshold, so no result
depends on their order. Time O(n log n); some 60 bytes a trial, 90 for the interval.
"""

from bisect import bisect_left

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pyspk.errors import UserError, first_few


def det_points(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P_miss, P_fa), (k + 1,) float64 each for k distinct scores, from accept all (0, 1) to reject all (1, 0).

    Scores: any shape, higher means more alike. Raises UserError for NaN, infinity, no targets, no nontargets.
    """
    target_scores, nontarget_scores = np.ravel(target_scores), np.ravel(nontarget_scores)
    is_target = np.zeros(len(target_scores) + len(nontarget_scores), dtype=bool)
    is_target[:len(target_scores)] = True
    _, missed, rejected = _sort(np.concatenate([target_scores, nontarget_scores]), is_target)
    return missed / missed[-1], 1 - rejected / rejected[-1]


def eer(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> float:
    """The equal error rate, in [0, 1]: where the lines between neighbouring DET points cross P_miss = P_fa.

    Kaldi's compute-eer takes the error rate at one target's score instead and differs by at most a step of the
    DET curve. Raises UserError as det_points does.
    """
    p_miss, p_fa = det_points(target_scores, nontarget_scores)
    after = int(np.searchsorted(p_miss - p_fa, 0.0))                # >= 1: the difference begins at -1
    return _crossing(p_miss[after - 1], p_fa[after - 1], p_miss[after], p_fa[after])


def min_dcf(target_scores: np.ndarray, nontarget_scores: np.ndarray, p_target: float = 0.01,
            c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The smallest detection cost over all thresholds, in [0, 1]: 1 is what accept all or reject all would cost.

    min over thresholds of c_miss p_target P_miss + c_fa (1 - p_target) P_fa, divided by min(c_miss p_target,
    c_fa (1 - p_target)), as in NIST's evaluation plans since 2008 and in Kaldi's compute_min_dcf.py.
    Raises UserError as det_points does, and for a prior outside (0, 1) or a cost that is not positive.
    """
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise UserError(f"minDCF needs 0 < p_target < 1 and positive costs, not p_target={p_target}, "
                        f"c_miss={c_miss}, c_fa={c_fa}")
    p_miss, p_fa = det_points(target_scores, nontarget_scores)
    cost = c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa
    return float(cost.min() / min(c_miss * p_target, c_fa * (1 - p_target)))


def eer_interval(scores: np.ndarray, is_target: np.ndarray, enroll_spk: np.ndarray, test_spk: np.ndarray,
                 n_resamples: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """(low, high): percentile bootstrap interval of the EER, in [0, 1]. Arguments and errors: eer_replicates."""
    rates = eer_replicates(scores, is_target, enroll_spk, test_spk, n_resamples, seed)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def eer_replicates(scores: np.ndarray, is_target: np.ndarray, enroll_spk: np.ndarray, test_spk: np.ndarray,
                   n_resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """EERs (n_resamples,) float64 in [0, 1] of bootstrap replicates that resample the speakers, not the trials.

    Trials of one speaker depend on each other; resampling trials would make the EER look surer than it is. Each
    replicate draws as many speakers as there are, with replacement. A target trial then counts as often as its
    speaker was drawn, a nontarget trial as often as the product of its two speakers' draws: the vertex bootstrap of
    Snijders & Borgatti (1999), but pairs of two copies of one speaker are left out. A replicate left without targets
    or without nontargets is drawn again. The draws depend on the trials and the seed alone, so that replicate i of two
    systems on the same trials has the same speakers: their difference or ratio, replicate by replicate, is paired.

    scores (n,), is_target (n,) bool, enroll_spk and test_spk (n,): integers from 0, or names.
    Raises UserError as det_points does, and for a target trial of two speakers or a nontarget trial of one.
    """
    scores, is_target = np.asarray(scores), np.asarray(is_target, dtype=bool)
    n_spk, first, second = _number(enroll_spk, test_spk)
    _check_speakers(is_target, first == second)
    order, missed, rejected = _sort(scores, is_target)
    targets, nontargets = order[is_target[order]], order[~is_target[order]]         # by ascending score
    spk, one, other = first[targets], first[nontargets], second[nontargets]
    # Every replicate reuses these: fresh pages for millions of trials cost more than the sums themselves.
    weight, factor = np.empty_like(one), np.empty_like(one)
    target_sum, nontarget_sum = np.zeros(len(spk) + 1, dtype=np.int64), np.zeros(len(one) + 1, dtype=np.int64)
    rng = np.random.default_rng(seed)
    rates: list[float] = []
    while len(rates) < n_resamples:
        drawn = np.bincount(rng.integers(n_spk, size=n_spk), minlength=n_spk)
        np.cumsum(drawn[spk], out=target_sum[1:])
        drawn.take(one, out=weight, mode="clip")                    # the default mode would copy `out`
        weight *= drawn.take(other, out=factor, mode="clip")
        np.cumsum(weight, out=nontarget_sum[1:])
        if target_sum[-1] and nontarget_sum[-1]:
            rates.append(_weighted_eer(target_sum, nontarget_sum, missed, rejected))
    return np.array(rates)


def speakers_from_trials(enroll: np.ndarray, test: np.ndarray,
                         is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(enroll_spk, test_spk), (n,) integers each: the speakers as far as the trials tell them.

    Two utterances are of one speaker when a chain of target trials joins them. An utterance in no target trial
    counts as a speaker of its own, so prefer utt2spk where there is one.
    enroll, test (n,): utterances, integers from 0 or names; is_target (n,) bool.
    """
    n_utt, first, second = _number(enroll, test)
    is_target = np.asarray(is_target, dtype=bool)
    pairs = (first[is_target], second[is_target])
    links = coo_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(n_utt, n_utt))
    _, speaker = connected_components(links, directed=False)        # (n_utt,)
    return speaker[first], speaker[second]


def _sort(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(order, missed, rejected): the ascending order (n,), and how many targets and nontargets a threshold rejects.

    missed, rejected (k + 1,): none first, then after each of the k distinct scores.
    """
    n_target = int(np.count_nonzero(is_target))
    for kind, count in (("target", n_target), ("nontarget", len(scores) - n_target)):
        if not count:
            raise UserError(f"there are no {kind} trials; error rates need both kinds")
    if n_bad := len(scores) - np.count_nonzero(np.isfinite(scores)):
        raise UserError(f"{n_bad} of {len(scores)} scores are NaN or infinite; mend what made them")
    order = np.argsort(scores)
    ascending = scores[order]
    stops = np.concatenate([[0], np.flatnonzero(ascending[1:] != ascending[:-1]) + 1, [len(scores)]])
    missed = np.cumsum(is_target[order])[stops - 1]
    missed[0] = 0
    return order, missed, stops - missed


def _weighted_eer(target_sum: np.ndarray, nontarget_sum: np.ndarray, missed: np.ndarray,
                  rejected: np.ndarray) -> float:
    """The EER when the i lowest targets count target_sum[i] together, and likewise the nontargets. O(log n)."""
    def rates(point: int) -> tuple[float, float]:
        return (target_sum[missed[point]] / target_sum[-1],
                1 - nontarget_sum[rejected[point]] / nontarget_sum[-1])

    def difference(point: int) -> float:
        p_miss, p_fa = rates(point)
        return p_miss - p_fa

    after = bisect_left(range(len(missed)), 0.0, key=difference)
    return _crossing(*rates(after - 1), *rates(after))


def _crossing(miss_0: float, fa_0: float, miss_1: float, fa_1: float) -> float:
    """The rate at which the line from (miss_0, fa_0) to (miss_1, fa_1) crosses P_miss = P_fa."""
    share = (fa_0 - miss_0) / ((fa_0 - miss_0) + (miss_1 - fa_1))
    return float(miss_0 + share * (miss_1 - miss_0))


def _number(first: np.ndarray, second: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """How many different values two columns hold, and the columns renumbered from 0 without gaps, (n,) each."""
    both = np.concatenate([first, second])
    if both.dtype.kind not in "iu":
        both = np.unique(both, return_inverse=True)[1]
    present = np.zeros(both.max(initial=-1) + 1, dtype=bool)
    present[both] = True
    number = np.cumsum(present) - 1
    return int(present.sum()), number[both[:len(first)]], number[both[len(first):]]


def _check_speakers(is_target: np.ndarray, is_one_speaker: np.ndarray) -> None:
    for kind, fault, wrong in (("target", "join two speakers", is_target & ~is_one_speaker),
                               ("nontarget", "stay within one speaker", is_one_speaker & ~is_target)):
        if wrong.any():
            numbers = np.flatnonzero(wrong) + 1
            raise UserError(f"{len(numbers)} {kind} trials {fault} (number {first_few(numbers)}); "
                            "mend the trials or utt2spk")

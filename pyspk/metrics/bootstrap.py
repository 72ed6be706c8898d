"""Error rates with the speakers resampled: how far to trust a measure, and a difference of two."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pyspk.errors import UserError, first_few
from pyspk.metrics.evaluation import Evaluation

Measure = Callable[[Evaluation], float]


def replicates(scores: np.ndarray, is_target: np.ndarray, enroll_spk: np.ndarray, test_spk: np.ndarray,
               measures: Sequence[Measure], n_resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Measures (n_resamples, len(measures)) float64 of bootstrap replicates that resample the speakers, not the trials.

    Trials of one speaker depend on each other; resampling trials would make a measure look surer than it is. Each
    replicate draws as many speakers as there are, with replacement. A target trial then counts as often as its
    speaker was drawn, a nontarget trial as often as the product of its two speakers' draws: the vertex bootstrap of
    Snijders & Borgatti (1999), but pairs of two copies of one speaker are left out. A replicate left without targets
    or without nontargets is drawn again. The draws depend on the trials and the seed alone, so that replicate i of two
    systems on the same trials has the same speakers: their difference or ratio, replicate by replicate, is paired.

    scores (n,), is_target (n,) bool, enroll_spk and test_spk (n,): integers from 0, or names.
    measures: for example Evaluation.eer, or lambda one: one.act_dcf(cost); they must not keep what they are given.
    Raises UserError as Evaluation does, and for a target trial of two speakers or a nontarget trial of one.
    """
    scores, is_target = np.asarray(scores), np.asarray(is_target, dtype=bool)
    whole = Evaluation(scores[is_target], scores[~is_target])
    n_spk, spk, one, other = _speakers_by_score(scores, is_target, enroll_spk, test_spk)
    # Every replicate reuses these: fresh pages for millions of trials cost more than the sums themselves.
    weight, factor = np.empty_like(one), np.empty_like(one)
    target_sum, nontarget_sum = np.zeros(len(spk) + 1, dtype=np.int64), np.zeros(len(one) + 1, dtype=np.int64)
    rng = np.random.default_rng(seed)
    values: list[list[float]] = []
    while len(values) < n_resamples:
        drawn = np.bincount(rng.integers(n_spk, size=n_spk), minlength=n_spk)
        np.cumsum(drawn[spk], out=target_sum[1:])
        drawn.take(one, out=weight, mode="clip")                    # the default mode would copy `out`
        weight *= drawn.take(other, out=factor, mode="clip")
        np.cumsum(weight, out=nontarget_sum[1:])
        if target_sum[-1] and nontarget_sum[-1]:
            replicate = whole.reweighted(target_sum, nontarget_sum)
            values.append([measure(replicate) for measure in measures])
    return np.array(values)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """(low, high): percentile bootstrap interval, of replicates (n_resamples,) of one measure."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def eer_interval(scores: np.ndarray, is_target: np.ndarray, enroll_spk: np.ndarray, test_spk: np.ndarray,
                 n_resamples: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """(low, high): percentile bootstrap interval of the EER, in [0, 1]. Arguments and errors: replicates."""
    return interval(eer_replicates(scores, is_target, enroll_spk, test_spk, n_resamples, seed), level)


def eer_replicates(scores: np.ndarray, is_target: np.ndarray, enroll_spk: np.ndarray, test_spk: np.ndarray,
                   n_resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """EERs (n_resamples,) float64 in [0, 1]. Arguments and errors: replicates."""
    return replicates(scores, is_target, enroll_spk, test_spk, [Evaluation.eer], n_resamples, seed)[:, 0]


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


def _speakers_by_score(scores: np.ndarray, is_target: np.ndarray, enroll_spk: np.ndarray,
                       test_spk: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """How many speakers there are; the targets' speaker (n_targets,), the nontargets' two; each by ascending score."""
    n_spk, first, second = _number(enroll_spk, test_spk)
    _check_speakers(is_target, first == second)
    targets, nontargets = (np.flatnonzero(side)[np.argsort(scores[side])] for side in (is_target, ~is_target))
    return n_spk, first[targets], first[nontargets], second[nontargets]


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

"""All that scores of target and nontarget trials tell about a system, from one sort."""

from bisect import bisect_left
from functools import cached_property
from math import log

import numpy as np

from pyspk.metrics.cost import Cost
from pyspk.metrics.curve import Curve, corner_counts, equal_error, sorted_sides


class Evaluation:
    """The scores of target and nontarget trials, sorted once for every measure.

    Scores: any shape, float32 or float64; higher means more alike. Time O(n log n). Raises UserError for NaN,
    infinity, no targets, no nontargets.

        both = Evaluation(targets, nontargets)
        both.eer(), both.min_dcf(Cost(0.01)), both.min_dcf(Cost(0.05)), both.det(2000)
    """

    def __init__(self, target_scores: np.ndarray, nontarget_scores: np.ndarray):
        self._sides = _Sides(*sorted_sides(target_scores, nontarget_scores))
        self._sums: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def targets(self) -> np.ndarray:
        """Their scores, ascending."""
        return self._sides.targets

    @property
    def nontargets(self) -> np.ndarray:
        """Their scores, ascending."""
        return self._sides.nontargets

    def reweighted(self, target_sum: np.ndarray, nontarget_sum: np.ndarray) -> "Evaluation":
        """The same trials, of which the i with the lowest scores count target_sum[i] together, and likewise nontargets.

        (n_targets + 1,), (n_nontargets + 1,) integers, from 0 to a total above 0. Nothing is sorted again.
        """
        other = Evaluation.__new__(Evaluation)
        other._sides, other._sums = self._sides, (target_sum, nontarget_sum)
        return other

    @cached_property
    def curve(self) -> Curve:
        """The points of the DET curve at its corners."""
        corners = self._sides.corners
        if self._sums is None:
            return corners
        return Curve(self._sums[0][corners.missed], self._sums[1][corners.rejected])

    @cached_property
    def hull(self) -> Curve:
        """The corners of the curve's lower convex hull."""
        return self.curve.hull()

    def eer(self) -> float:
        """The equal error rate, in [0, 1]: where the lines between neighbouring DET points cross P_miss = P_fa."""
        if self._sums is None:
            return self.curve.equal_error()
        corners, (target_sum, nontarget_sum) = self._sides.corners, self._sums      # a few points, not the whole curve
        return equal_error(len(corners.missed), lambda i: (target_sum[corners.missed[i]] / target_sum[-1],
                                                           1 - nontarget_sum[corners.rejected[i]] / nontarget_sum[-1]))

    def eer_hull(self) -> float:
        """The equal error rate on the ROC's convex hull, in [0, 0.5]: never above eer().

        A point on the hull's edges is reached by choosing at random between two thresholds. Brummer & de Villiers 2011,
        "The BOSARIS toolkit user guide": it is the greatest, over all priors, of the least error rate.
        """
        return self.hull.equal_error()

    def min_dcf(self, cost: Cost) -> float:
        """The smallest Cost.of over all thresholds, in [0, 1]."""
        return float(cost.of(self.curve.p_miss, self.curve.p_fa).min())

    def act_dcf(self, cost: Cost) -> float:
        """Cost.of at cost.threshold, for scores that are natural log-likelihood ratios; min_dcf if these are true."""
        return float(cost.of(*self.rates(cost.threshold)))

    def rates(self, threshold: float) -> tuple[float, float]:
        """(P_miss, P_fa) when the trials above `threshold` are accepted."""
        missed, n_target, rejected, n_nontarget = self._counts(threshold)
        return missed / n_target, 1 - rejected / n_nontarget

    def eer_threshold(self) -> float:
        """The lowest score at which, as the threshold, P_miss is no less than P_fa."""
        def excess(threshold: float) -> int:
            missed, n_target, rejected, n_nontarget = self._counts(threshold)
            return missed * n_nontarget - (n_nontarget - rejected) * n_target      # without rounding

        places = [(side, bisect_left(side, 0, key=excess)) for side in (self.targets, self.nontargets)]
        return min(float(side[place]) for side, place in places if place < len(side))

    def _counts(self, threshold: float) -> tuple[int, int, int, int]:
        """(targets rejected, targets, nontargets rejected, nontargets)."""
        missed, rejected = (int(np.searchsorted(side, threshold, "right")) for side in (self.targets, self.nontargets))
        if self._sums is None:
            return missed, len(self.targets), rejected, len(self.nontargets)
        target_sum, nontarget_sum = self._sums
        return int(target_sum[missed]), int(target_sum[-1]), int(nontarget_sum[rejected]), int(nontarget_sum[-1])

    def cllr(self) -> float:
        """The cost of log-likelihood ratios (natural logarithm) in bits, at least 0; 1 is what llr = 0 for all costs.

        (mean over targets of log2(1 + exp(-llr)) + mean over nontargets of log2(1 + exp(llr))) / 2: Brummer & du Preez
        2006, "Application-independent evaluation of speaker detection" (Computer Speech and Language).
        """
        losses = self._sides.losses
        if self._sums is None:
            means = [loss.mean() for loss in losses]
        else:
            means = [np.diff(total) @ loss / total[-1] for total, loss in zip(self._sums, losses, strict=True)]
        return float(sum(means) / (2 * log(2)))

    def min_cllr(self) -> float:
        """The least Cllr that any rising function of the scores reaches, in [0, 1].

        That function is constant on each edge of the hull, the log of its targets' share of all targets over its
        nontargets' share: pool-adjacent-violators, Brummer & du Preez 2006.
        """
        targets, nontargets = np.diff(self.hull.missed), np.diff(self.hull.rejected)
        of_targets, of_nontargets = targets / targets.sum(), nontargets / nontargets.sum()
        both = of_targets + of_nontargets
        # log(1 + exp(-llr)) is -log of the target share in both, and likewise: x log x is 0 at 0
        loss = (_x_log(of_targets, both) + _x_log(of_nontargets, both)).sum()
        return float(loss / (2 * log(2)))

    def det(self, most: int = 2000) -> tuple[np.ndarray, np.ndarray]:
        """(P_miss, P_fa), (k,) float64 each with k <= most (10 or more), from accept all (0, 1) to reject all (1, 0).

        Thinned, if need be, so that a plot on normal-deviate axes shows no difference.
        """
        curve = self.curve.thinned(most)
        return curve.p_miss, curve.p_fa


class _Sides:
    """Ascending scores, and what follows from them alone."""

    def __init__(self, targets: np.ndarray, nontargets: np.ndarray):
        self.targets, self.nontargets = targets, nontargets

    @cached_property
    def corners(self) -> Curve:
        """The curve at its corners, each trial counted once."""
        return corner_counts(self.targets, self.nontargets)

    @cached_property
    def losses(self) -> tuple[np.ndarray, np.ndarray]:
        """log(1 + exp(-llr)) of each target and log(1 + exp(llr)) of each nontarget, float64."""
        return (np.logaddexp(0, -self.targets, dtype=np.float64),
                np.logaddexp(0, self.nontargets, dtype=np.float64))


def _x_log(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part log(whole / part), 0 where part is 0."""
    some = part > 0
    result = np.zeros(len(part))
    result[some] = part[some] * np.log(whole[some] / part[some])
    return result


def eer(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> float:
    """Evaluation.eer of these scores, which raises what it raises.

    Kaldi's compute-eer does not interpolate: it returns the share of targets below the lowest target score that
    exceeds its counterpart, the nontarget as far from their top in share as it is from the targets' bottom. It differs
    by at most a step of the DET curve.
    """
    return Evaluation(target_scores, nontarget_scores).eer()


def eer_hull(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> float:
    """Evaluation.eer_hull of these scores, which raises what it raises."""
    return Evaluation(target_scores, nontarget_scores).eer_hull()


def min_dcf(target_scores: np.ndarray, nontarget_scores: np.ndarray, p_target: float = 0.01,
            c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The smallest normalised detection cost over all thresholds, in [0, 1]: Evaluation.min_dcf of Cost(...).

    Raises UserError as these do. For several costs, or other measures too, one Evaluation is faster.
    """
    return Evaluation(target_scores, nontarget_scores).min_dcf(Cost(p_target, c_miss, c_fa))


def act_dcf(target_scores: np.ndarray, nontarget_scores: np.ndarray, p_target: float = 0.01,
            c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The normalised detection cost of Bayes' decisions by log-likelihood ratios: Evaluation.act_dcf of Cost(...).

    Raises UserError as these do.
    """
    return Evaluation(target_scores, nontarget_scores).act_dcf(Cost(p_target, c_miss, c_fa))


def cllr(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> float:
    """Evaluation.cllr of these log-likelihood ratios, which raises what it raises."""
    return Evaluation(target_scores, nontarget_scores).cllr()


def min_cllr(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> float:
    """Evaluation.min_cllr of these scores, which raises what it raises."""
    return Evaluation(target_scores, nontarget_scores).min_cllr()

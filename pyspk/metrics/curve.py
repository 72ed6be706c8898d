"""The error rates at every threshold that matters, their convex hull, and what follows from them."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import ndtr, ndtri

from pyspk.errors import UserError


@dataclass(frozen=True)
class Curve:
    """How many targets and nontargets each of k thresholds rejects, (k,) each, ascending from none to all.

    Between neighbouring points the curve is a straight line.
    """

    missed: np.ndarray
    rejected: np.ndarray

    @property
    def p_miss(self) -> np.ndarray:
        """(k,) float64, from 0 to 1."""
        return self.missed / self.missed[-1]

    @property
    def p_fa(self) -> np.ndarray:
        """(k,) float64, from 1 to 0."""
        return 1 - self.rejected / self.rejected[-1]

    def equal_error(self) -> float:
        """The rate where the lines between neighbouring points cross P_miss = P_fa, in [0, 1]."""
        n_target, n_nontarget = self.missed[-1], self.rejected[-1]
        return equal_error(len(self.missed), lambda i: (self.missed[i] / n_target, 1 - self.rejected[i] / n_nontarget))

    def hull(self) -> "Curve":
        """The corners of the lower convex hull.

        Found by pool-adjacent-violators, whose blocks end at the hull's corners: Fawcett & Niculescu-Mizil 2007, "PAV
        and the ROC convex hull" (Machine Learning).
        """
        targets, nontargets = np.diff(self.missed), np.diff(self.rejected)
        counts = targets + nontargets
        some = np.flatnonzero(counts)
        ends = isotonic_regression(targets[some] / counts[some], weights=counts[some]).blocks
        corners = np.concatenate([[0], some[ends[1:] - 1] + 1])
        return Curve(self.missed[corners], self.rejected[corners])

    def thinned(self, most: int) -> "Curve":
        """At most `most` (10 or more) of the points, which look the same on a DET plot.

        Its axes are the normal deviates of the rates: Martin et al. 1997, "The DET curve in assessment of detection
        task performance" (Eurospeech). Kept are the points on both sides of rates evenly spaced on either axis, so
        that what is left out lies between two kept points a fraction of a line's width apart.
        """
        if len(self.missed) <= most:
            return self
        kept = [np.array([0, len(self.missed) - 1])]
        for count in (self.missed, self.rejected):
            edge = ndtri(0.5 / count[-1])                           # half an error: beyond it there is nothing to see
            rates = ndtr(np.linspace(edge, -edge, (most - 2) // 4))
            after = np.searchsorted(count, rates * count[-1])       # in 1 .. k - 1
            kept += [after - 1, after]
        points = np.unique(np.concatenate(kept))
        return Curve(self.missed[points], self.rejected[points])


def equal_error(n_points: int, point: Callable[[int], tuple[float, float]]) -> float:
    """Where the line through point(0) ... point(n_points - 1), (P_miss, P_fa) each, crosses P_miss = P_fa. O(log n)."""
    def excess(number: int) -> float:
        p_miss, p_fa = point(number)
        return p_miss - p_fa

    after = bisect_left(range(n_points), 0.0, key=excess)           # >= 1: the difference begins at -1
    (miss_0, fa_0), (miss_1, fa_1) = point(after - 1), point(after)
    share = (fa_0 - miss_0) / ((fa_0 - miss_0) + (miss_1 - fa_1))
    return float(miss_0 + share * (miss_1 - miss_0))


def det_points(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P_miss, P_fa), (k + 1,) float64 each for k distinct scores, from accept all (0, 1) to reject all (1, 0).

    Scores: any shape, higher means more alike. Raises UserError as sorted_sides does.
    """
    targets, nontargets = sorted_sides(target_scores, nontarget_scores)
    scores = np.unique(np.concatenate([targets, nontargets]))
    missed, rejected = (np.searchsorted(side, scores, side="right") for side in (targets, nontargets))
    curve = Curve(np.concatenate([[0], missed]), np.concatenate([[0], rejected]))
    return curve.p_miss, curve.p_fa


def sorted_sides(target_scores: np.ndarray, nontarget_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both flat and ascending, their dtypes kept. Raises UserError for NaN, infinity, no targets, no nontargets."""
    sides = np.ravel(target_scores), np.ravel(nontarget_scores)
    for kind, scores in zip(("target", "nontarget"), sides, strict=True):
        if not len(scores):
            raise UserError(f"there are no {kind} trials; error rates need both kinds")
    sides = np.sort(sides[0]), np.sort(sides[1])
    if n_bad := sum(_n_not_finite(side) for side in sides):
        raise UserError(f"{n_bad} of {len(sides[0]) + len(sides[1])} scores are NaN or infinite; mend what made them")
    return sides


def corner_counts(targets: np.ndarray, nontargets: np.ndarray) -> Curve:
    """The curve of ascending scores by the points around each score of the smaller side.

    Between these only the other side's count changes, along a straight line, so that the EER, the hull, and the
    lowest cost of any kind are those of all thresholds.
    """
    few, many = sorted([targets, nontargets], key=len)
    score, n = np.unique(few, return_counts=True)
    count_few = np.cumsum(n)
    below_few = count_few - n
    below_many, count_many = (np.searchsorted(many, score, side=side) for side in ("left", "right"))
    of_few, of_many = (np.concatenate([[0], np.stack([below, upto], axis=1).ravel(), [len(side)]])
                       for below, upto, side in ((below_few, count_few, few), (below_many, count_many, many)))
    return Curve(of_few, of_many) if few is targets else Curve(of_many, of_few)


def _n_not_finite(ascending: np.ndarray) -> int:
    """Those are at the ends: -inf first, inf and NaN last."""
    if np.isfinite(ascending[0]) and np.isfinite(ascending[-1]):
        return 0
    return len(ascending) - int(np.count_nonzero(np.isfinite(ascending)))

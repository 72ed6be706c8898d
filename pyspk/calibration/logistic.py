"""Logistic regression whose output is a log-likelihood ratio at a prior of our choosing."""

import logging
import math

import numpy as np
from scipy.special import expit

log = logging.getLogger(__name__)
_BLOCK_ROWS = 1 << 16
_MOST_STEPS, _MOST_HALVINGS = 100, 40
_ENOUGH = 1e-14                          # what another step could still gain


def fit_llr(columns: np.ndarray, is_target: np.ndarray, p_target: float) -> tuple[np.ndarray, float]:
    """(weights (k,), offset): columns @ weights + offset is the natural log-likelihood ratio of target to nontarget.

    The minimum over both of P / n_targets sum over targets of log(1 + exp(-z)) + (1 - P) / n_nontargets sum over
    nontargets of log(1 + exp(z)), with z = llr + logit P: Brummer & du Preez 2006, "Application-independent evaluation
    of speaker detection" (Computer Speech and Language); whatever share of the trials is targets, it is
    trained as if P were.

    columns (n, k) float, each finite and not constant; is_target (n,) bool, of both kinds; 0 < p_target < 1.
    Where a weighted sum ranks no target below a nontarget there is no minimum. Then the labels are softened as by
    Platt 1999, "Probabilistic outputs for support vector machines", at P = 1/2, whatever p_target is, and the log says
    so: at a small P the soft part of the nontargets would outweigh the targets.
    """
    mean, std = columns.mean(axis=0), columns.std(axis=0)
    problem = _Problem(columns, is_target, mean, std, p_target)
    solution, is_found = problem.minimum(0.0, 0.0)
    if not is_found:
        n_target = int(np.count_nonzero(is_target))
        n_nontarget = len(is_target) - n_target
        log.warning("the %d target and %d nontarget trials are told apart without error, which leaves the scale open: "
                     "it is a guess (Platt's); calibrate on more trials", n_target, n_nontarget)
        problem = _Problem(columns, is_target, mean, std, 0.5)
        solution, _ = problem.minimum(1 / (n_target + 2), 1 / (n_nontarget + 2))
    weights = solution[:-1] / std
    return weights, float(solution[-1] - weights @ mean)


class _Problem:
    """The cost of standardised weights, with its gradient and curvature, a block of trials at a time."""

    def __init__(self, columns: np.ndarray, is_target: np.ndarray, mean: np.ndarray, std: np.ndarray, p_target: float):
        self._columns, self._is_target, self._mean, self._std = columns, is_target, mean, std
        n_target = np.count_nonzero(is_target)
        self._shares = (1 - p_target) / (len(is_target) - n_target), p_target / n_target
        self._logit = math.log(p_target / (1 - p_target))

    def minimum(self, soft_target: float, soft_nontarget: float) -> tuple[np.ndarray, bool]:
        """(weights and offset (k + 1,), whether that is the minimum), by Newton's method with halved steps.

        soft_target: how far a target counts as a nontarget; soft_nontarget likewise.
        """
        at = np.zeros(self._columns.shape[1] + 1)
        labels = soft_nontarget, 1 - soft_target
        cost, gradient, curvature, _ = self._terms(at, labels)
        for _ in range(_MOST_STEPS):
            step = np.linalg.lstsq(curvature, -gradient, rcond=None)[0]      # of equal columns, the shortest
            if -gradient @ step < _ENOUGH:
                return at, True
            for halving in range(_MOST_HALVINGS):
                there = at + step / 2**halving
                new_cost, new_gradient, new_curvature, is_parted = self._terms(there, labels)
                if new_cost < cost:
                    break
            else:
                return at, True                                     # no step gains anything that float64 can tell
            at, cost, gradient, curvature = there, new_cost, new_gradient, new_curvature
            if is_parted and not soft_target:
                return at, False
        return at, False

    def _terms(self, at: np.ndarray, labels: tuple[float, float]) -> tuple[float, np.ndarray, np.ndarray, bool]:
        """(cost, gradient (k + 1,), curvature (k + 1, k + 1), whether no target lies below a nontarget)."""
        cost, gradient, curvature = 0.0, np.zeros(len(at)), np.zeros((len(at), len(at)))
        lowest, highest = np.inf, -np.inf
        for start in range(0, len(self._is_target), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            is_target = self._is_target[block]
            x = np.ones((len(is_target), len(at)))                  # (rows, k + 1)
            x[:, :-1] = (self._columns[block] - self._mean) / self._std
            llr = x @ at
            z = llr + self._logit
            share, label = np.where(is_target, *self._shares[::-1]), np.where(is_target, *labels[::-1])
            p = expit(z)
            cost += float(share @ (np.logaddexp(0, z) - label * z))
            gradient += x.T @ (share * (p - label))
            curvature += x.T @ ((share * p * (1 - p))[:, None] * x)
            lowest = min(lowest, llr[is_target].min(initial=np.inf))
            highest = max(highest, llr[~is_target].max(initial=-np.inf))
        return cost, gradient, curvature, lowest >= highest

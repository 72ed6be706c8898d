"""A calibration: what turns scores into log-likelihood ratios, kept in a small JSON file."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import expit

from pyspk.calibration.logistic import fit_llr
from pyspk.errors import UserError, first_few
from pyspk.metrics import Cost
from pyspk.tables.atomic import atomic_write
from pyspk.tables.text import read_text

log = logging.getLogger(__name__)

_FORMAT = "pyspk calibration 1"
_FIELDS = {"format": str, "systems": dict, "qualities": dict, "offset": float, "p_target": float, "trained_on": dict}
_WEIGHTS = "systems", "qualities"
_GREATEST = 1e300                        # no NaN, infinity or whole number that no float can hold


@dataclass(frozen=True)
class Calibration:
    """llr = offset + sum of scale x score over the systems + sum of weight x quality over the quality measures.

    systems, qualities: name -> scale and name -> weight, in the order of the columns that apply takes. p_target: the
    prior that it was trained at. trained_on: what on, in JSON values.

        calibration = Calibration.load("exp/resnet34p/calibration.json")
        llr = calibration.apply(scores)                        # accept where llr > calibration.threshold(0.01)
    """

    systems: Mapping[str, float]
    offset: float
    qualities: Mapping[str, float] = field(default_factory=dict)
    p_target: float = 0.5
    trained_on: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def fit(cls, scores: np.ndarray, is_target: np.ndarray, systems: Sequence[str], p_target: float = 0.5,
            qualities: np.ndarray | None = None, quality_names: Sequence[str] = (),
            trained_on: Mapping[str, object] | None = None) -> "Calibration":
        """By logistic regression at the prior p_target (fit_llr); of several systems this is their linear fusion.

        scores (n, k) of k systems, or (n,) of one; qualities (n, q); is_target (n,) bool. A constant column says
        nothing and weighs 0. Raises UserError for a number of names that does not fit, names that come twice, NaN or
        infinity, no targets or no nontargets, a prior outside (0, 1), and scores that are all alike.
        """
        Cost(p_target)
        columns = _columns(scores, qualities, systems, quality_names)
        is_target = np.asarray(is_target, dtype=bool)
        for kind, side in (("target", is_target), ("nontarget", ~is_target)):
            if not side.any():
                raise UserError(f"there are no {kind} trials; calibration needs both kinds")
        varies = np.ptp(columns, axis=0) > 0
        if not varies[:len(systems)].any():
            raise UserError(f"all scores of {', '.join(systems)} are alike; there is nothing to calibrate")
        weights = np.zeros(columns.shape[1])
        weights[varies], offset = fit_llr(columns[:, varies], is_target, p_target)
        if len(systems) == 1 and weights[0] < 0:
            log.warning("higher scores of %s speak against a target: are targets and nontargets mixed up, or are these "
                        "distances?", systems[0])
        values = weights.tolist()
        return cls(dict(zip(systems, values, strict=False)), offset,
                   dict(zip(quality_names, values[len(systems):], strict=True)), p_target, dict(trained_on or {}))

    def apply(self, scores: np.ndarray, qualities: np.ndarray | None = None) -> np.ndarray:
        """The natural log-likelihood ratio of each trial, (n,) float64.

        scores (n, k) in the order of systems, or (n,) of one; qualities (n, q) in the order of qualities, None of none.
        Raises UserError for another number of columns, NaN or infinity.
        """
        columns = _columns(scores, qualities, list(self.systems), list(self.qualities))
        return columns @ np.array([*self.systems.values(), *self.qualities.values()]) + self.offset

    @staticmethod
    def threshold(p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Accept where the log-likelihood ratio lies above this: Cost.threshold, which raises what it raises."""
        return Cost(p_target, c_miss, c_fa).threshold

    @staticmethod
    def probability(llr: np.ndarray, p_target: float) -> np.ndarray:
        """The probability that a trial is a target when p_target of all are, of llr (n,): logistic(llr + logit)."""
        return expit(np.asarray(llr) - Cost(p_target).threshold)

    def save(self, path: str | Path) -> None:
        """Write the fields as JSON, atomically."""
        with atomic_write(path) as file:
            json.dump({"format": _FORMAT, "systems": dict(self.systems), "qualities": dict(self.qualities),
                       "offset": self.offset, "p_target": self.p_target, "trained_on": dict(self.trained_on)},
                      file, indent=1)
            file.write("\n")

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """What save wrote. Raises UserError for a missing file and one that is no calibration, naming the field."""
        try:
            saved = json.loads(read_text(path))
        except ValueError:
            raise UserError(f"{path}: not JSON; calibrate.py makes a calibration") from None
        if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
            raise UserError(f'{path}: no calibration (its "format" is not "{_FORMAT}"); calibrate.py makes one')
        if saved.keys() != _FIELDS.keys():
            odd = sorted(saved.keys() ^ _FIELDS.keys())
            raise UserError(f"{path}: the fields {first_few(odd)} are missing or unknown; the fields are "
                            f"{', '.join(_FIELDS)}")
        for name, kind in _FIELDS.items():
            is_good = _is_number(saved[name]) if kind is float else isinstance(saved[name], kind)
            if not is_good or (name in _WEIGHTS and not all(map(_is_number, saved[name].values()))):
                raise UserError(f"{path}: the field {name} is damaged; calibrate.py makes a calibration")
        del saved["format"]
        return cls(**saved)


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < _GREATEST


def _columns(scores: np.ndarray, qualities: np.ndarray | None, systems: Sequence[str],
             quality_names: Sequence[str]) -> np.ndarray:
    """Scores and quality measures beside each other, (n, k + q) float64, checked."""
    scores = np.asarray(scores, dtype=np.float64)
    scores = scores[:, None] if scores.ndim == 1 else scores
    parts = [("systems", "score", systems, scores)]
    if qualities is None:
        qualities = np.empty((len(scores), 0))
    parts.append(("quality measures", "quality", quality_names, np.asarray(qualities, dtype=np.float64)))
    for what, kind, names, values in parts:
        if values.shape != (len(scores), len(names)):
            raise UserError(f"{kind} columns of shape {values.shape} for {len(scores)} trials and {len(names)} {what} "
                            f"({first_few(names, 9)})")
        if n_bad := values.size - int(np.count_nonzero(np.isfinite(values))):
            raise UserError(f"{n_bad} of {values.size} {kind} values are NaN or infinite; mend what made them")
        if len(set(names)) < len(names):
            raise UserError(f"{what} need different names, not {', '.join(names)}")
    return np.hstack([values for *_, values in parts])

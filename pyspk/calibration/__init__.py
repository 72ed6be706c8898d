"""From scores to log-likelihood ratios, so that a threshold means something: calibration and fusion.

    model.py       Calibration: fitted, applied, saved and loaded
    logistic.py    the prior-weighted logistic regression beneath it
    quality.py     quality measures of the two sides of a trial: durations, norms, cohort means
    files.py       the same with trial lists and score files; what each threshold costs
"""

from pyspk.calibration.model import Calibration

__all__ = ["Calibration"]

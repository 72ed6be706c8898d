"""From scores to log-likelihood ratios, so that a threshold means something: calibration and fusion.

    model.py       Calibration: fitted, applied, saved and loaded
    logistic.py    the prior-weighted logistic regression beneath it
    measures.py    quality measures of utterances: durations, norms, cohort means
    quality.py     the same of the two sides of a trial
    files.py       the same with trial lists and score files; what each threshold costs
"""

from pyspk.calibration.model import Calibration

__all__ = ["Calibration"]

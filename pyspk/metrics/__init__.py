"""How well scores tell target from nontarget trials, and how far to trust that.

    evaluation.py   Evaluation: EER, EER on the convex hull, minDCF, actDCF, Cllr, min Cllr, DET, of scores sorted once
    curve.py        the error rates of all thresholds, their convex hull, and what follows from them
    cost.py         detection costs and the Bayes threshold
    bootstrap.py    any of these with the speakers resampled: replicates and intervals
    groups.py       trials by the groups of their two sides (gender, language, duration, ...)

A trial is accepted when its score lies above the threshold. P_miss is the share of target trials rejected, P_fa the
share of nontarget trials accepted. Trials of equal score fall on the same side of every threshold, so no result depends
on their order.
"""

from pyspk.metrics.bootstrap import (
    eer_interval,
    eer_replicates,
    interval,
    replicates,
    speakers_from_trials,
)
from pyspk.metrics.cost import Cost
from pyspk.metrics.curve import det_points
from pyspk.metrics.evaluation import Evaluation, act_dcf, cllr, eer, eer_hull, min_cllr, min_dcf

__all__ = ["Cost", "Evaluation", "act_dcf", "cllr", "det_points", "eer", "eer_hull", "eer_interval",
           "eer_replicates", "interval", "min_cllr", "min_dcf", "replicates", "speakers_from_trials"]

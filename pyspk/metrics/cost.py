"""What errors cost, and the threshold that a cost asks for."""

from dataclasses import dataclass
from math import log

import numpy as np

from pyspk.errors import UserError


@dataclass(frozen=True)
class Cost:
    """The prior of a target trial, in (0, 1), and the costs of a miss and of a false alarm, above 0.

    Raises UserError for others.
    """

    p_target: float = 0.01
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self):
        if not (0 < self.p_target < 1 and 0 < self.c_miss < np.inf and 0 < self.c_fa < np.inf):
            raise UserError(f"a cost needs 0 < p_target < 1 and positive costs, not p_target={self.p_target}, "
                            f"c_miss={self.c_miss}, c_fa={self.c_fa}")

    @property
    def threshold(self) -> float:
        """log(c_fa (1 - p_target) / (c_miss p_target)): the log-likelihood ratio above which accepting is cheaper.

        Natural logarithm. Bayes' decision; Brummer & du Preez 2006, "Application-independent evaluation of speaker
        detection" (Computer Speech and Language).
        """
        return log(self.c_fa) + log(1 - self.p_target) - log(self.c_miss) - log(self.p_target)

    def of(self, p_miss: np.ndarray | float, p_fa: np.ndarray | float) -> np.ndarray | float:
        """The normalised detection cost, of the shape given: 1 is what the cheaper of accept all and reject all costs.

        (c_miss p_target P_miss + c_fa (1 - p_target) P_fa) / min(c_miss p_target, c_fa (1 - p_target)), as in NIST's
        evaluation plans since 2008 and in Kaldi's compute_min_dcf.py.
        """
        miss, fa = self.c_miss * self.p_target, self.c_fa * (1 - self.p_target)
        return (miss * p_miss + fa * p_fa) / min(miss, fa)

"""Quality measures of a trial's two sides, for calibration: what makes a score more or less sure.

Mandasari et al. 2013, "Quality measure functions for calibration of speaker recognition systems in various duration
conditions" (IEEE TASLP); norms and cohort means as in Thienpondt et al. 2021, "The IDLAB VoxSRC-20 submission" (ICASSP).
"""

import numpy as np


def symmetric(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """min and |difference| of a measure on the two sides of each trial, (n, 2): the same when the sides change places.

    one, other (n,). Weighted sums of the two also give the sum and the greater one.
    """
    return np.stack([np.minimum(one, other), np.abs(one - other)], axis=1)


def symmetric_names(measure: str) -> tuple[str, str]:
    """What the columns of symmetric are called in a Calibration."""
    return f"{measure}.min", f"{measure}.difference"

"""Quality measures of a trial's two sides, for calibration: what makes a score more or less sure.

A measure is a table with a number for each utterance, such as measures.py writes.
"""

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path

import numpy as np

from pyspk.errors import UserError
from pyspk.scoring.trials import Scores, Trials, look_up
from pyspk.tables.text import read_table


def trial_qualities(pairs: Trials | Scores, files: Sequence[str | Path]) -> np.ndarray:
    """symmetric of each file's measure, (n, 2 x files) float64. Each file: a number for each name in `pairs`.

    Raises UserError for names without a value and values that are no finite numbers.
    """
    columns = [np.empty((len(pairs.enroll), 0))]
    for path in files:
        measure = np.array([_number(text, path) for text in look_up(read_table(path), pairs.names, path)])
        columns.append(symmetric(measure[pairs.enroll], measure[pairs.test]))
    return np.hstack(columns)


def symmetric(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """min and |difference| of a measure on the two sides of each trial, (n, 2): the same when the sides change places.

    one, other (n,). Weighted sums of the two also give the sum and the greater one.
    """
    return np.stack([np.minimum(one, other), np.abs(one - other)], axis=1)


def symmetric_names(measures: Sequence[str]) -> list[str]:
    """What the columns of symmetric are called in a Calibration, for each of `measures`."""
    return [f"{measure}.{kind}" for measure in measures for kind in ("min", "difference")]


def _number(text: str, path: str | Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise UserError(f'{path}: "{text}" is no finite number; a quality measure has a line "UTTERANCE NUMBER"')
    return value

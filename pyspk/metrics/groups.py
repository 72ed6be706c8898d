"""Trials by the groups of their two sides."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pyspk.errors import UserError, first_few

_MOST_LABELS = 20
_N_BINS = 4


def group_labels(values: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """(labels in order, the place in them of each value (m,)), of texts such as "f" or "en", or of many numbers.

    More than 20 different numbers become four bins of about as many values each. Raises UserError for more than
    20 different texts.
    """
    labels, places = np.unique(np.array(values, dtype=np.str_), return_inverse=True)
    if len(labels) <= _MOST_LABELS:
        return labels.tolist(), places
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError:
        raise UserError(f"{len(labels)} different groups ({first_few(labels)}), more than {_MOST_LABELS}; group by "
                        "something coarser") from None
    if not np.isfinite(numbers).all():
        raise UserError("NaN or infinity among the numbers to group by; mend what made them")
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _N_BINS + 1)))
    return [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)], np.searchsorted(edges[1:-1], numbers, "right")


def pair_groups(labels: Sequence[str], one: np.ndarray, other: np.ndarray) -> tuple[list[str], np.ndarray]:
    """(names of the groups that occur, the group of each trial (n,)): a trial's group is the pair of its sides' groups.

    one, other (n,): places in labels. Pairs of one group come first, called as it is; f with m is "f, m" whichever side
    is which.
    """
    n = len(labels)
    pair = np.minimum(one, other) * n + np.maximum(one, other)
    present = np.unique(pair)
    first, second = np.divmod(present, n)
    order = np.argsort(first != second, kind="stable")
    group = np.empty(len(present), dtype=np.int64)
    group[order] = np.arange(len(present))
    names = [labels[a] if a == b else f"{labels[a]}, {labels[b]}"
             for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True)]
    return names, group[np.searchsorted(present, pair)]

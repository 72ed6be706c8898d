"""Trials by what is known of their two sides: a table of error rates for gender, language, duration, ..."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pyspk import metrics
from pyspk.errors import UserError
from pyspk.report.experiment import TrialData, durations
from pyspk.scoring.trials import Trials, kaldi_name, look_up
from pyspk.tables.text import read_table

_N_BINS, _MOST = 4, 12
_N_RESAMPLES = 400


@dataclass(frozen=True)
class Group:
    """Trials of one group. eer: (value, low, high) over speakers, None without both sorts of trials.

    p_miss, p_fa: at the threshold of the whole list, None without such trials.
    """

    name: str
    n_speakers: int
    n_targets: int
    n_nontargets: int
    eer: tuple[float, float, float] | None
    p_miss: float | None
    p_fa: float | None


def group_tables(trials: Trials, score: np.ndarray, speakers: tuple[np.ndarray, np.ndarray], trial_data: TrialData,
                 threshold: float) -> dict[str, list[Group]]:
    """Title -> its groups, for each table of trial_data. Raises UserError for tables that lack names of the trials."""
    found = {}
    for title, path in trial_data.tables.items():
        names, members = assign(trials, _values(title, path, trials, trial_data))
        groups = [_measured(name, members == number, trials, score, speakers, threshold)
                  for number, name in enumerate(names)]
        if len(groups) > 1:
            found[title] = groups
    return found


def assign(trials: Trials, values: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """(the groups' names, the number of each trial's group (n,)), for a value of each of trials.names.

    Numbers: the smaller of both sides, in four groups of about as many trials each. Words: the one of both sides, or
    both; of more than twelve groups the smallest are one.
    """
    numbers = _numbers(values)
    if numbers is not None:
        return _by_number(np.minimum(numbers[trials.enroll], numbers[trials.test]))
    words, place = np.unique(np.array(values, dtype=object), return_inverse=True)
    low, high = (pick(place[trials.enroll], place[trials.test]).astype(np.int64) for pick in (np.minimum, np.maximum))
    pairs, member = np.unique(low * len(words) + high, return_inverse=True)
    names = [f"{words[pair // len(words)]}" + (f" and {words[pair % len(words)]}" if pair % len(words) != pair //
                                               len(words) else "") for pair in pairs]
    return _largest(names, member)


def _by_number(smaller: np.ndarray) -> tuple[list[str], np.ndarray]:
    inner = np.unique([float(f"{edge:.3g}") for edge in np.quantile(smaller, np.arange(1, _N_BINS) / _N_BINS)])
    inner = inner[(inner > smaller.min()) & (inner <= smaller.max())]
    names = [f"below {inner[0]:g}", *(f"{one:g} to {other:g}" for one, other in pairwise(inner)),
             f"{inner[-1]:g} and more"] if len(inner) else ["all"]
    return names, np.searchsorted(inner, smaller, side="right")


def _largest(names: list[str], member: np.ndarray) -> tuple[list[str], np.ndarray]:
    if len(names) <= _MOST:
        return names, member
    order = np.argsort(-np.bincount(member), kind="stable")
    kept = np.sort(order[:_MOST - 1])
    renumber = np.full(len(names), _MOST - 1)
    renumber[kept] = np.arange(len(kept))
    return [*(names[number] for number in kept), f"{len(names) - len(kept)} others"], renumber[member]


def _numbers(values: Sequence[str]) -> np.ndarray | None:
    """The values as numbers where they are a measure; a few codes that look like numbers are words."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    return numbers if len(np.unique(numbers)) > 2 * _N_BINS and np.isfinite(numbers).all() else None


def _values(title: str, path: Path, trials: Trials, trial_data: TrialData) -> list[str]:
    """The value of each of trials.names."""
    if path.name == "utt2num_frames":
        table: Mapping[str, object] = durations(path.parent)
    else:
        table = read_table(path)
    table = {name: str(value) for name, value in table.items()}
    if path.name.startswith("spk2"):
        utt2spk = read_table(trial_data.utt2spk)
        table |= {utt: table[spk] for utt, spk in utt2spk.items() if spk in table}
    if not table.keys() & {*trials.names, *map(kaldi_name, trials.names)}:
        raise UserError(f"{path}: none of its names is in {trial_data.trials}; is it a table of other utterances?")
    return look_up(table, trials.names, path)


def _measured(name: str, member: np.ndarray, trials: Trials, score: np.ndarray,
              speakers: tuple[np.ndarray, np.ndarray], threshold: float) -> Group:
    is_target, score = trials.is_target[member], score[member]
    enroll_spk, test_spk = (side[member] for side in speakers)
    n_targets = int(is_target.sum())
    n_nontargets = len(is_target) - n_targets
    n_speakers = len(np.unique(np.concatenate([enroll_spk, test_spk])))
    eer = None
    if n_targets and n_nontargets:
        drawn = metrics.eer_replicates(score, is_target, enroll_spk, test_spk, _N_RESAMPLES)
        eer = (metrics.eer(score[is_target], score[~is_target]), *metrics.interval(drawn))
    return Group(name, n_speakers, n_targets, n_nontargets, eer,
                 float((score[is_target] <= threshold).mean()) if n_targets else None,
                 float((score[~is_target] > threshold).mean()) if n_nontargets else None)

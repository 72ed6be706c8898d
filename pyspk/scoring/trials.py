"""Trial lists and score files, as columns of integers: a name is kept once, a trial costs 9 bytes.

    trials   ENROLL TEST target|nontarget     or VoxCeleb's own form:  1|0 a/b/c.wav d/e/f.wav
    scores   ENROLL TEST SCORE
"""

import logging
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pyspk.errors import UserError, first_few
from pyspk.scoring.blocks import in_order
from pyspk.scoring.columns import encode_lines, flags, read_columns
from pyspk.tables.atomic import atomic_write

log = logging.getLogger(__name__)

_BLOCK_LINES = 1 << 16                   # written at a time
_LONGEST_LINE = 1 << 16                  # bytes of a first line that is looked at
_KALDI, _VOXCELEB = {"target": True, "nontarget": False}, {"1": True, "0": False}
_TRIAL_FORM = 'a trial is "ENROLL TEST target", "ENROLL TEST nontarget" or, as in VoxCeleb\'s lists, "1 ENROLL TEST"'
_SCORE_FORM = 'a score is "ENROLL TEST SCORE"'


class Trials(NamedTuple):
    """n trials; enroll and test (n,) int32 are places in names."""

    names: list[str]
    enroll: np.ndarray
    test: np.ndarray
    is_target: np.ndarray                # (n,) bool


class Scores(NamedTuple):
    """n scores; enroll and test (n,) int32 are places in names."""

    names: list[str]
    enroll: np.ndarray
    test: np.ndarray
    score: np.ndarray                    # (n,) float64, finite


def read_trials(path: str | Path) -> Trials:
    """The trials of `path` in file order, in either form; the first line tells which.

    Raises UserError naming file and line for a line that is not a trial, and for a list without any.
    """
    return _read_trials_fast(path) or _read_trials_line_by_line(path)


def _read_trials_fast(path: str | Path) -> Trials | None:
    """The trials of a file without any fault; None for other files."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        words = file.readline(_LONGEST_LINE).decode(errors="replace").split()
    if len(words) != 3:
        return None
    labels, order = _KALDI, ("enroll", "test", "beside")
    if words[0] in _VOXCELEB and words[2] not in _KALDI:
        labels, order = _VOXCELEB, ("beside", "enroll", "test")
    found = read_columns(path, order, is_number=False)
    is_target = found and flags(found.beside, labels)
    return None if is_target is None else Trials(found.names, found.enroll, found.test, is_target)


def _read_trials_line_by_line(path: str | Path) -> Trials:
    places: dict[str, int] = {}
    enroll, test, is_target = array("i"), array("i"), bytearray()
    labels = _KALDI
    for number, fields in _rows(path, _TRIAL_FORM):
        if number == 1 and fields[0] in _VOXCELEB and fields[2] not in _KALDI:
            labels = _VOXCELEB
        label, first, second = fields if labels is _VOXCELEB else (fields[2], fields[0], fields[1])
        if label not in labels:
            raise UserError(f'{path}:{number}: "{label}" is no label; {_TRIAL_FORM}')
        enroll.append(places.setdefault(first, len(places)))
        test.append(places.setdefault(second, len(places)))
        is_target.append(labels[label])
    return Trials(list(places), np.frombuffer(enroll, np.int32), np.frombuffer(test, np.int32),
                  np.frombuffer(is_target, np.bool_))


def read_scores(path: str | Path) -> Scores:
    """The scores of `path` in file order.

    Raises UserError naming file and line for a line that is not a score and for a last line without its newline (a
    score cut short is still a number); for scores that are NaN or infinite; for a file without any.
    """
    if found := read_columns(path, ("enroll", "test", "beside"), is_number=True):
        scores = Scores(found.names, found.enroll, found.test, found.beside.to_numpy())
    else:
        scores = _read_scores_line_by_line(path)
    n = len(scores.score)
    if (bad := np.flatnonzero(~np.isfinite(scores.score))).size:
        raise UserError(f"{path}: {len(bad)} of {n} scores are NaN or infinite ({_first_pairs(scores, bad)}); "
                        "mend what made them")
    with Path(path).open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            raise UserError(f"{path}:{n}: the last line has no newline, so the file may be cut short; make it again, "
                            "or add the newline")
    return scores


def _read_scores_line_by_line(path: str | Path) -> Scores:
    places: dict[str, int] = {}
    enroll, test, score = array("i"), array("i"), array("d")
    for number, (first, second, value) in _rows(path, _SCORE_FORM):
        try:
            score.append(float(value))
        except ValueError:
            raise UserError(f'{path}:{number}: "{value}" is no number; {_SCORE_FORM}') from None
        enroll.append(places.setdefault(first, len(places)))
        test.append(places.setdefault(second, len(places)))
    return Scores(list(places), np.frombuffer(enroll, np.int32), np.frombuffer(test, np.int32),
                  np.frombuffer(score, np.float64))


def write_scores(path: str | Path, scores: Scores) -> None:
    """Write `ENROLL TEST SCORE` lines with seven digits, atomically."""
    names = pa.array(scores.names, pa.string())

    def encode(block: slice) -> memoryview:
        return encode_lines(names, scores.enroll[block], scores.test[block], scores.score[block])

    with atomic_write(path, "wb") as file:
        file.writelines(in_order(encode, len(scores.score), _BLOCK_LINES))


def match(trials: Trials, scores: Scores, trials_path: str | Path, scores_path: str | Path) -> np.ndarray:
    """The score of each trial, (n,) float64, in the trials' order. Every trial has its score, every score its trial.

    A list may repeat a trial (it then counts again), with the same label and a score line for each, of one value.
    Raises UserError with counts and names for trials without a score, scores without a trial, and repeated pairs
    that disagree.
    """
    place = {name: number for number, name in enumerate(trials.names)}
    renumber = np.array([place.get(name, -1) for name in scores.names], dtype=np.int64)
    enroll, test = renumber[scores.enroll], renumber[scores.test]
    wanted = trials.enroll.astype(np.int64) * len(place) + trials.test
    given = np.where((enroll < 0) | (test < 0), -1, enroll * len(place) + test)
    if np.array_equal(wanted, given) and not _has_repeats(wanted):      # as score files mostly are
        return scores.score
    by_trial, by_score = np.argsort(wanted, kind="stable"), np.argsort(given, kind="stable")
    pairs = wanted[by_trial]
    if not np.array_equal(pairs, given[by_score]):
        raise UserError(f"{scores_path} does not fit {trials_path}: {_misfit(trials, scores, wanted, given)}; "
                        "score this trial list")
    again = np.flatnonzero(pairs[1:] == pairs[:-1]) + 1             # places in `pairs` that repeat the one before
    for path, order, values, kind in ((trials_path, by_trial, trials.is_target, "labels"),
                                      (scores_path, by_score, scores.score, "scores")):
        odd = again[values[order[again]] != values[order[again - 1]]]
        if odd.size:
            raise UserError(f"{path}: {len(odd)} repeated pairs have different {kind} "
                            f"({_first_pairs(trials, by_trial[odd])}); keep one line of each")
    if again.size:
        log.warning("%s: %d trials come again (%s); each line counts", trials_path, len(again),
                    _first_pairs(trials, by_trial[again]))
    score = np.empty(len(wanted))
    score[by_trial] = scores.score[by_score]
    return score


def kaldi_name(name: str) -> str:
    """An utterance of VoxCeleb's lists as Kaldi's data directories call it: a/b/c.wav -> a-b-c."""
    return name.removesuffix(".wav").replace("/", "-")


def look_up(table: dict[str, str], names: list[str], path: str | Path) -> list[str]:
    """The value of each of `names`, under that name or its kaldi_name.

    Raises UserError, with a count and the first three, for names that `table` (read from `path`) lacks.
    """
    values = [table.get(name) or table.get(kaldi_name(name)) for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if value is None]
    if missing:
        raise UserError(f"{path}: {len(missing)} of the {len(names)} names wanted are not there "
                        f"({first_few(missing)}); make what is missing, or take their trials out")
    return values


def _rows(path: str | Path, form: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, its three fields) of each line of `path`."""
    number = 0
    try:
        with Path(path).open(encoding="utf-8-sig") as file:      # a byte-order mark is no part of the first name
            for number, line in enumerate(file, start=1):
                fields = line.split()
                if len(fields) != 3:
                    raise UserError(f"{path}:{number}: {len(fields)} fields; {form}")
                yield number, fields
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; is it a binary file?") from None
    if not number:
        raise UserError(f"{path}: empty; {form}")


def _has_repeats(pairs: np.ndarray) -> bool:
    ascending = np.sort(pairs)
    return bool((ascending[1:] == ascending[:-1]).any())


def _misfit(trials: Trials, scores: Scores, wanted: np.ndarray, given: np.ndarray) -> str:
    """What keeps the pairs `wanted` and `given` from being the same, as counts with the first three."""
    missing, extra = np.flatnonzero(~np.isin(wanted, given)), np.flatnonzero(~np.isin(given, wanted))
    faults = []
    if missing.size:
        faults.append(f"{len(missing)} of {len(wanted)} trials have no score ({_first_pairs(trials, missing)})")
    if extra.size:
        faults.append(f"{len(extra)} scores have no trial ({_first_pairs(scores, extra)})")
    if not faults:
        _, first, n_trials = np.unique(wanted, return_index=True, return_counts=True)
        odd = first[np.unique(given, return_counts=True)[1] != n_trials]
        faults.append(f"{len(odd)} pairs have more or fewer score lines than trial lines "
                      f"({_first_pairs(trials, odd)})")
    return " and ".join(faults)


def _first_pairs(pairs: Trials | Scores, numbers: np.ndarray) -> str:
    some = np.sort(numbers)[:4]
    return first_few(f"{pairs.names[pairs.enroll[i]]} {pairs.names[pairs.test[i]]}" for i in some)

"""Trials among speakers that a network was not trained on, to calibrate its scores with."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from pyspk.augment.copies import original_name
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.tables.archive import read_scp
from pyspk.tables.text import read_table, write_lines, write_table
from pyspk.training.split import spread

log = logging.getLogger(__name__)
_FEWEST_COHORT = 2                       # what a standard deviation needs


def choose_speakers(data: DataDir, spk2id: str | Path, utts_per_speaker: int = 20,
                    fewest: int = 10) -> dict[str, list[str]]:
    """Speaker -> utterances, of those in `data` with two or more that spk2id (what training wrote) does not list.

    Those are the ones that training held out, where `data` was trained on. When there are fewer than `fewest`: every
    second speaker of `data`, so that the others remain as a cohort, and the log says what is wrong with that.
    utts_per_speaker: at most, evenly spaced; augmented copies do not count. Raises UserError for fewer than two
    speakers.
    """
    known = set(data.spk2utt)
    recorded = {spk: kept for spk, utts in data.spk2utt.items() if original_name(spk, known) == spk
                and len(kept := [utt for utt in utts if original_name(utt, data.utt2spk) == utt]) > 1}
    seen = read_table(spk2id)
    unseen = [spk for spk in recorded if spk not in seen]
    chosen = unseen
    if len(unseen) < fewest:
        chosen = list(recorded)[::2] if len(recorded) > 3 else list(recorded)
        log.warning("%s: only %d speakers with two utterances were not trained on, fewer than %d; the trials are of %d "
                    "speakers, most of them trained on, whose scores are too good: what is calibrated on them will be "
                    "too sure", data.path, len(unseen), fewest, len(chosen))
    if len(chosen) < 2:
        raise UserError(f"{data.path}: {len(chosen)} speakers with two utterances or more; trials need at least 2")
    return {spk: spread(recorded[spk], utts_per_speaker) for spk in chosen}


def write_trials(path: str | Path, utts: Mapping[str, Sequence[str]],
                 most_nontargets: int = 500_000) -> tuple[int, int]:
    """Write all pairs of one speaker and at most most_nontargets of two, evenly spaced; returns how many of each."""
    targets = [f"{one} {other} target" for of_spk in utts.values() for one, other in combinations(of_spk, 2)]
    nontargets = [f"{one} {other} nontarget" for one, other in _pairs_of_two(utts, most_nontargets)]
    write_lines(path, targets + nontargets)
    return len(targets), len(nontargets)


def write_cohort(spk_scp: str | Path, without: Mapping[str, object], out: str | Path) -> int:
    """Write spk_scp without the speakers of the trials to `out`; returns how many are left.

    A speaker's own mean in the cohort would lower its target scores. With fewer than two others left the cohort stays
    whole, and the log says so.
    """
    table = read_scp(spk_scp)
    others = {spk: place for spk, place in table.items() if spk not in without}
    if len(others) < _FEWEST_COHORT:
        log.warning("%s: only %d speakers are in no trial, too few for a cohort: all are kept", spk_scp, len(others))
        others = table
    write_table(out, others)
    return len(others)


def _pairs_of_two(utts: Mapping[str, Sequence[str]], most: int) -> Iterator[tuple[str, str]]:
    """Pairs of utterances of different speakers: of all pairs of utterances, at most `most` evenly spaced ones."""
    names = [utt for of_spk in utts.values() for utt in of_spk]
    spk = np.repeat(np.arange(len(utts)), [len(of_spk) for of_spk in utts.values()])
    starts = np.concatenate([[0], np.cumsum(np.arange(len(names) - 1, 0, -1))])     # of the pairs (i, i + 1), ...
    n_kept = min(int(starts[-1]), most)
    pairs = np.arange(n_kept) * int(starts[-1]) // n_kept
    first = np.searchsorted(starts, pairs, side="right") - 1
    second = first + 1 + pairs - starts[first]
    differ = spk[first] != spk[second]
    return ((names[i], names[j]) for i, j in zip(first[differ].tolist(), second[differ].tolist(), strict=True))

"""Who is held out from training, and which pairs of their utterances are tried."""

import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from pyspk.errors import UserError, first_few
from pyspk.tables.text import read_text
from speaker_folders.utterances import Utterance, safe_id

PURPOSE = {"dev": "development", "eval": "evaluation", "train": "training"}

log = logging.getLogger("pyspk")


def read_groups(path: Path | None, speakers: set[str]) -> dict[str, str]:
    """Speaker -> group; a speaker that the file does not name is a group by himself."""
    lines = [line.strip().rpartition(" ") for line in read_text(path).splitlines() if line.strip()] if path else []
    named = {safe_id(speaker.strip()): group for speaker, _, group in lines}
    if unknown := sorted(named.keys() - speakers):
        log.warning("%s: %d speakers are without usable recordings (%s)", path, len(unknown), first_few(unknown))
    return {speaker: named.get(speaker, speaker) for speaker in speakers}


def choose(group_of: Mapping[str, str], eval_speakers: Path | None, dev_speakers: Path | None) -> dict[str, set[str]]:
    """Side -> its speakers: "dev" when `dev_speakers` lists some, "eval" and "train", which has all others.

    group_of: speaker -> group, of all. Without `eval_speakers`, every third group that is not for dev goes to eval.
    Raises UserError when a speaker is listed for both, and when a side has fewer than two.
    """
    dev = read_speakers(dev_speakers, group_of) if dev_speakers else set()
    if eval_speakers:
        evaluated = read_speakers(eval_speakers, group_of)
        if both := sorted(dev & evaluated):
            raise UserError(f"{dev_speakers}: {len(both)} speakers are in {eval_speakers} too ({first_few(both)}); "
                            "name each in one of the two")
    else:
        groups = sorted({group_of[speaker] for speaker in group_of.keys() - dev})[::3]
        evaluated = {speaker for speaker, group in group_of.items() if group in groups}
    sides = {"dev": dev} if dev_speakers else {}
    sides |= {"eval": evaluated, "train": group_of.keys() - dev - evaluated}
    for side, speakers in sides.items():
        if len(speakers) < 2:
            option = "--dev-speakers" if side == "dev" else "--eval-speakers"
            raise UserError(f"{len(speakers)} of {len(group_of)} speakers for {PURPOSE[side]}, but it takes 2 at "
                            f"least; add speakers, or divide them otherwise with {option} FILE")
    return sides


def read_speakers(path: Path, group_of: Mapping[str, str]) -> set[str]:
    """The speakers in a file, one a line. Raises UserError when one is unknown, or a group is not there as a whole."""
    named = {safe_id(line.strip()): line.strip() for line in read_text(path).splitlines() if line.strip()}
    if unknown := [name for speaker, name in named.items() if speaker not in group_of]:
        raise UserError(f"{path}: {len(unknown)} speakers have no usable recordings in the corpus "
                        f"({first_few(unknown)}); it has {first_few(sorted(group_of))}")
    others = {group for speaker, group in group_of.items() if speaker not in named}
    if torn := {group_of[speaker] for speaker in named} & others:
        raise UserError(f"{path}: it divides the groups {first_few(sorted(torn))}; name all speakers of a group, "
                        "or none")
    return set(named)


def draw_trials(utts: list[Utterance], group_of: Mapping[str, str], max_trials: int, side: str) -> list[str]:
    """Sorted "ENROLL TEST target|nontarget" lines: pairs of utterances from different recordings, at most max_trials.

    Targets may fill half of them, or what the nontargets leave. Pieces of one recording are targets only for a speaker
    who has no other; speakers of one group are no nontargets. side: "dev" or "eval", for what is said.
    Raises UserError when either kind is missing.
    """
    speaker, recording, group = (np.unique(column, return_inverse=True)[1] for column in (
        [utt.speaker for utt in utts], [utt.recording for utt in utts], [group_of[utt.speaker] for utt in utts]))
    recordings_of = defaultdict(set)
    for utt in utts:
        recordings_of[utt.speaker].add(utt.recording)
    single = np.array([len(recordings_of[utt.speaker]) == 1 for utt in utts])

    def targets(row: int) -> np.ndarray:
        return (speaker == speaker[row]) & ((recording != recording[row]) | single[row])

    def nontargets(row: int) -> np.ndarray:
        return group != group[row]

    n_targets, n_nontargets = (sum(pairs_per_row(kind, len(utts))) for kind in (targets, nontargets))
    if not n_targets:
        raise UserError(f"no target trial: no speaker for {PURPOSE[side]} has two utterances; record more, or choose "
                        f"others with --{side}-speakers FILE")
    if not n_nontargets:
        raise UserError(f"no nontarget trial: all speakers for {PURPOSE[side]} are of one group; choose others with "
                        f"--{side}-speakers FILE")
    cut_up = sorted({utt.speaker for utt, alone in zip(utts, single, strict=True) if alone and utt.id != utt.recording})
    if cut_up:
        log.warning("%d speakers for %s have a single recording (%s); pieces of it are their target trials",
                    len(cut_up), PURPOSE[side], first_few(cut_up))
    keep = min(n_targets, max(max_trials // 2, max_trials - n_nontargets))
    trials = [f"{utts[row].id} {utts[column].id} {name}"
              for kind, name, n_kept in ((targets, "target", keep), (nontargets, "nontarget", max_trials - keep))
              for row, column in sample_pairs(kind, len(utts), n_kept)]
    return sorted(trials)


def pairs_per_row(kind: Callable[[int], np.ndarray], n_utts: int) -> list[int]:
    """How many columns > row are pairs of this kind, for each row."""
    return [int(kind(row)[row + 1:].sum()) for row in range(n_utts)]


def sample_pairs(kind: Callable[[int], np.ndarray], n_utts: int, n_wanted: int) -> Iterator[tuple[int, int]]:
    """Pairs row < column of this kind: all, or a sample of n_wanted that is the same each time."""
    counts = pairs_per_row(kind, n_utts)
    total = sum(counts)
    ranks = np.array(sorted(random.Random(0).sample(range(total), min(n_wanted, total))))
    before = 0
    for row, n_pairs in enumerate(counts):
        here = ranks[np.searchsorted(ranks, before):np.searchsorted(ranks, before + n_pairs)] - before
        columns = row + 1 + np.flatnonzero(kind(row)[row + 1:])
        yield from ((row, int(column)) for column in columns[here])
        before += n_pairs

"""Utterances shared out into parts that follow each other, as even as can be."""

from collections.abc import Mapping, Sequence

from pyspk.errors import UserError


def by_utterance(utts: Sequence[str], n_parts: int) -> list[list[str]]:
    """n_parts runs of `utts` whose lengths differ by one at most. Raises UserError when there are fewer utterances."""
    if len(utts) < n_parts:
        raise UserError(f"{len(utts)} utterances cannot make {n_parts} parts; ask for {len(utts)} or fewer")
    return [list(utts[part * len(utts) // n_parts:(part + 1) * len(utts) // n_parts]) for part in range(n_parts)]


def by_speaker(spk2utt: Mapping[str, Sequence[str]], n_parts: int) -> list[list[str]]:
    """n_parts runs of whole speakers: each takes speakers while that brings it nearer to an even share of what is left.

    Raises UserError when there are fewer speakers.
    """
    if len(spk2utt) < n_parts:
        raise UserError(f"{len(spk2utt)} speakers cannot make {n_parts} parts; ask for {len(spk2utt)} or fewer, or "
                        "split by utterance with --per-utt")
    speakers, left = list(spk2utt.values()), sum(map(len, spk2utt.values()))
    parts, at = [], 0
    for part in range(n_parts):
        share, utts = left / (n_parts - part), list(speakers[at])
        at += 1
        # A speaker at least must be left for each part that follows; the last part takes all.
        while at < len(speakers) - (n_parts - part - 1) and (
                part == n_parts - 1 or abs(len(utts) + len(speakers[at]) - share) < abs(len(utts) - share)):
            utts += speakers[at]
            at += 1
        parts.append(utts)
        left -= len(utts)
    return parts

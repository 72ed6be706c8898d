"""Which utterances a subset has. The names of the selections are those of Kaldi's subset_data_dir.sh.

Nothing is drawn anew from run to run: the same directory gives the same subset.
"""

import random
from collections.abc import Collection, Sequence
from pathlib import Path

from pyspk.datadir.directory import DataDir
from pyspk.datadir.layout import SEGMENTS, parse_segment
from pyspk.errors import UserError, first_few
from pyspk.tables.text import read_text

LENGTHS = ("utt2num_frames", "utt2dur", SEGMENTS)      # where the length of an utterance stands, the best first


def evenly(data: DataDir, n: int) -> list[str]:
    """n utterances, spread evenly over the list."""
    return _spread(_at_least(data, n), n)


def first(data: DataDir, n: int) -> list[str]:
    """The first n utterances."""
    return _at_least(data, n)[:n]


def last(data: DataDir, n: int) -> list[str]:
    """The last n utterances."""
    return _at_least(data, n)[-n:]


def shortest(data: DataDir, n: int) -> list[str]:
    """The n shortest utterances, of two equally long ones the first, by utt2num_frames, utt2dur or segments.

    Raises UserError when the directory has none of these.
    """
    utts = _at_least(data, n)
    source = next((name for name in LENGTHS if data.has(name)), None)
    if source is None:
        raise UserError(f"{data.path}: neither {', '.join(LENGTHS)} is there to say how long an utterance is; "
                        "make_fbank.py writes the first")
    table = data.table(source)
    if source == SEGMENTS:
        length = {utt: end_s - start_s for utt, (_, start_s, end_s) in
                  ((utt, parse_segment(value)) for utt, value in table.items())}
    else:
        length = {utt: float(value) for utt, value in table.items()}
    return sorted(sorted(utts, key=lambda utt: length[utt])[:n])


def whole_speakers(data: DataDir, n: int) -> list[str]:
    """All utterances of some speakers, shuffled once and for all, of just as many as give n utterances."""
    _at_least(data, n)
    speakers = list(data.spk2utt)
    random.Random(0).shuffle(speakers)
    utts: list[str] = []
    for spk in speakers:
        if len(utts) < n:
            utts += data.spk2utt[spk]
    return sorted(utts)


def per_speaker(data: DataDir, n: int) -> list[str]:
    """n utterances of each speaker, spread evenly; all of those who have fewer."""
    return sorted(utt for utts in data.spk2utt.values() for utt in _spread(utts, min(n, len(utts))))


# The option of subset_data_dir.py -> the function that selects N utterances.
SELECTIONS = {"evenly": evenly, "first": first, "last": last, "shortest": shortest, "speakers": whole_speakers,
              "per-spk": per_speaker}


def listed_utts(data: DataDir, file: str | Path) -> list[str]:
    """The utterances in the first column of `file`. Raises UserError naming those that the directory does not have."""
    return sorted(_listed(file, data.utt2spk, f"utterances that {data.path}/utt2spk does not have"))


def listed_speakers(data: DataDir, file: str | Path) -> list[str]:
    """The utterances of the speakers in the first column of `file`. Raises UserError naming those that are unknown."""
    chosen = _listed(file, data.spk2utt, f"speakers that {data.path}/utt2spk does not have")
    return sorted(utt for spk in chosen for utt in data.spk2utt[spk])


def _listed(file: str | Path, known: Collection[str], unknown_are: str) -> set[str]:
    names = {line.split()[0] for line in read_text(file).splitlines() if line.strip()}
    if not names:
        raise UserError(f"{file}: empty; a line begins with the name of what to keep")
    if unknown := sorted(names - set(known)):
        raise UserError(f"{file}: names {len(unknown)} {unknown_are} ({first_few(unknown)}); remove them from the list")
    return names


def _at_least(data: DataDir, n: int) -> list[str]:
    if n > len(data.utt2spk):
        raise UserError(f"{n} utterances are asked for, but {data.path} has {len(data.utt2spk)}; ask for fewer")
    return list(data.utt2spk)


def _spread(utts: Sequence[str], n: int) -> list[str]:
    return [utts[i * len(utts) // n] for i in range(n)]

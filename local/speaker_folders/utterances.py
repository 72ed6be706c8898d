"""From recordings to utterances: safe names that sort by speaker, and long recordings in pieces."""

import math
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain, count, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pyspk.errors import UserError

CUT_ABOVE_S = 20
MAX_PIECE_S = 10                # pieces are equal, so that of more than 20 s none is under 5 s


class Utterance(NamedTuple):
    """An utterance, or a piece of a long recording."""

    id: str
    speaker: str
    recording: str
    path: Path
    start_s: float
    end_s: float


def name_utterances(corpus_dir: Path, seconds: dict[str, float]) -> list[Utterance]:
    """All utterances, sorted by id, which sorts them by speaker too. Raises UserError when two speakers get one id."""
    folders: dict[str, str] = {}
    for folder in sorted({path.partition("/")[0] for path in seconds}):
        other = folders.setdefault(safe_id(folder), folder)
        if other != folder:
            raise UserError(f'{corpus_dir}: the speakers "{other}" and "{folder}" would both be called '
                            f'"{safe_id(folder)}"; rename one of the folders')
    # "-" sorts before all that an id can hold, so SPEAKER-NAME keeps speakers together, unless one speaker's id goes on
    # from another's with "-" itself.
    link = "--" if any(after.startswith(f"{before}-") for before, after in pairwise(sorted(folders))) else "-"
    utts: list[Utterance] = []
    taken: set[str] = set()
    for path in sorted(seconds):
        folder, _, name = path.partition("/")
        speaker = safe_id(folder)
        stem = safe_id(PurePosixPath(name).with_suffix("").as_posix().replace("/", "-")).removeprefix(f"{speaker}-")
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        recording = next(name for name in (f"{speaker}{link}{name}" for name in names) if name not in taken)
        taken.add(recording)
        utts += cut(recording, speaker, corpus_dir / path, seconds[path])
    return sorted(utts)


def safe_id(name: str) -> str:
    """`name` in letters, digits, "_", "." and single inner "-": a space as "_", others by their code (ü as u00fc)."""
    name = unicodedata.normalize("NFC", name).replace(" ", "_")
    name = re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"u{ord(found[0]):04x}", name)
    return re.sub("-+", "-", name).strip("-") or "_"


def cut(recording: str, speaker: str, path: Path, seconds: float) -> Iterator[Utterance]:
    """The recording as one utterance, or, when it is longer than CUT_ABOVE_S, as equal pieces."""
    if seconds <= CUT_ABOVE_S:
        yield Utterance(recording, speaker, recording, path, 0.0, seconds)
        return
    n_pieces = math.ceil(seconds / MAX_PIECE_S)
    borders = [seconds * piece / n_pieces for piece in range(n_pieces + 1)]
    for start_s, end_s in pairwise(borders):
        name = f"{recording}-{round(start_s * 100):07d}-{round(end_s * 100):07d}"
        yield Utterance(name, speaker, recording, path, start_s, end_s)

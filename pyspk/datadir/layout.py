"""What each table of a Kaldi data directory is: its key, and what its values look like.

Source: Kaldi's documentation, "Data preparation" (kaldi-asr.org/doc/data_prep.html).
"""

import math
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pyspk.errors import UserError
from pyspk.tables.text import ALL_LINES, ODD, Faults, Mend, is_plain, scan_table

# A segment may end this much after its recording and is then cut there, as by Kaldi's extract-segments.
MAX_OVERSHOOT_S = 0.5


class Key(Enum):
    """What the lines of a table are about. A recording is an utterance where there is no segments."""

    UTT = "utterance"
    RECO = "recording"
    SPK = "speaker"


@dataclass(frozen=True)
class Table:
    """A table with one line for each utterance, recording or speaker, no more and no fewer.

    looks_like: what a value is, in words. is_good: whether a value is that; None when anything is.
    without: the option of validate_data_dir.py that allows the table to be absent; "" when it may always be.
    """

    name: str
    key: Key
    looks_like: str
    is_good: Callable[[str], bool] | None = None
    without: str = ""
    may_be_empty: bool = False


def is_word(value: str) -> bool:
    """Whether `value` is one column."""
    return " " not in value and "\t" not in value and is_plain(value)


def is_positive(value: str) -> bool:
    """Whether `value` is a finite number above 0."""
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False


def is_count(value: str) -> bool:
    """Whether `value` is an integer above 0."""
    return value.isascii() and value.isdigit() and int(value) > 0


def parse_segment(value: str) -> tuple[str, float, float] | None:
    """(recording, start, end in seconds) of the rest of a line of segments; None when it is not that."""
    try:
        reco, start, end = value.split()
        start_s, end_s = float(start), float(end)
    except ValueError:
        return None
    return (reco, start_s, end_s) if math.isfinite(start_s) and math.isfinite(end_s) else None


UTT2SPK, SPK2UTT, SEGMENTS, WAV, RECO2DUR = "utt2spk", "spk2utt", "segments", "wav.scp", "reco2dur"
FEATS, UTT2AUG = "feats.scp", "utt2aug"
# Not tables, for they hold for the whole directory: the seconds from frame to frame, and where utt2aug's noises are.
FRAME_SHIFT, AUGMENT = WHOLE = "frame_shift", "augment.toml"
TABLES = {table.name: table for table in (
    Table(UTT2SPK, Key.UTT, "a speaker", is_word),
    Table(SEGMENTS, Key.UTT, '"utterance recording start end"', lambda value: parse_segment(value) is not None),
    Table(WAV, Key.RECO, 'a file, or a command ending in "|"', without="--no-wav"),
    Table("text", Key.UTT, "words", without="--no-text", may_be_empty=True),
    Table(UTT2AUG, Key.UTT, "the utterance it is a copy of, and what is done to it"),
    Table(FEATS, Key.UTT, "a place in an archive", without="--no-feats"),
    Table("vad.scp", Key.UTT, "a place in an archive"),
    Table("utt2num_frames", Key.UTT, "a number of frames above 0", is_count),
    Table("utt2dur", Key.UTT, "a number of seconds above 0", is_positive),
    Table("utt2lang", Key.UTT, "a language", is_word),
    Table("utt2uniq", Key.UTT, "the utterance it is a copy of", is_word),
    Table("utt2room", Key.UTT, "a room", is_word),
    Table("utt2warp", Key.UTT, "a warp factor above 0", is_positive),
    Table(RECO2DUR, Key.RECO, "a number of seconds above 0", is_positive),
    Table("reco2num_channels", Key.RECO, "a number of channels above 0", is_count),
    Table("reco2file_and_channel", Key.RECO, '"recording file channel"', lambda value: len(value.split()) == 2),
    Table("cmvn.scp", Key.SPK, "a place in an archive"),
    Table("spk2gender", Key.SPK, "m or f", lambda value: value in ("m", "f")),
    Table("spk2warp", Key.SPK, "a warp factor above 0", is_positive),
)}
# Made from utt2spk, never copied or cut: only checked.
INVERSE = Table(SPK2UTT, Key.SPK, "the utterances of the speaker")


def tables_in(path: Path) -> list[Table]:
    """The tables that the directory `path` has, spk2utt apart. Raises UserError when it is none, or lacks utt2spk."""
    if not path.is_dir():
        raise UserError(f"{path}: no such data directory")
    if not (path / UTT2SPK).exists():
        raise UserError(f"{path / UTT2SPK}: no such file; it has a line \"utterance speaker\" for each utterance, "
                        "and a data directory cannot be without it")
    return [table for table in TABLES.values() if (path / table.name).exists()]


def faults_of(path: Path, name: str, skipped: int = 0) -> Faults:
    """No faults yet, of the file `name` in the directory `path`, with the commands that list and mend them.

    skipped: as Faults takes it.
    """
    absent = [table.without for table in TABLES.values() if table.without and not (path / table.name).exists()]
    return Faults(path / name, fix_command(path), shlex.join(["validate_data_dir.py", *absent, str(path)]),
                  skipped)


def fix_command(path: Path) -> str:
    """What to type to have the directory `path` mended."""
    return shlex.join(["fix_data_dir.py", str(path)])


def scan(path: Path, table: Table, faults: Faults, lines: slice = ALL_LINES) -> tuple[list[str], list[str]]:
    """(keys, values) of `lines` of a table of the directory `path`, an entry for each; their faults are added.

    Raises UserError when the file cannot be read.
    """
    keys, values = scan_table(path / table.name, faults, values=not table.may_be_empty, lines=lines)
    is_good = table.is_good
    if is_good is None:
        return keys, values
    for number, value in enumerate(values, start=1):
        if not is_good(value) and value:
            add_bad_value(faults, table, number, keys[number - 1], value)
    return keys, values


def add_bad_value(faults: Faults, table: Table, number: int, key: str, value: str) -> None:
    """Add that the value on line `number` is not what it should be."""
    if table.name == UTT2SPK:
        what = (f'"{key} {value}" has more than two columns' if is_plain(value) else
                f'the speaker {value!a} of "{key}" {ODD}')
    elif table.name == SEGMENTS:
        what = f'"{key} {value}" is not {table.looks_like}'
    else:
        what = f'"{key}" has "{value}", which is not {table.looks_like}'
    faults.add(number, what, "correct it", Mend.LEFT_OUT)


def check_keys(faults: Faults, table: Table, keys: list[str], wanted: list[str], source: str) -> None:
    """Add to `faults` the keys of a table that are not `wanted`, and those wanted that it lacks.

    wanted: each once, in order; source: the file they come from.
    """
    if keys == wanted:
        return
    has, wants = set(keys), set(wanted)
    for number, key in enumerate(keys, start=1):
        if key and key not in wants:
            faults.add(number, f'{table.key.value} "{key}" is not in {source}', "remove the line")
    for key in wanted:
        if key not in has:
            faults.add(None, f'no line for {table.key.value} "{key}" of {source}', "add it", Mend.LEFT_OUT)


def check_segments(faults: Faults, keys: Iterable[str], values: Iterable[str], recos: set[str] | None, source: str,
                   reco2dur: dict[str, str] | None = None) -> None:
    """Add to `faults` the lines of segments without length, of unknown recordings, or past the end of theirs.

    recos: the recordings of the file `source`; None when they are not known. reco2dur: seconds, where they are known.
    """
    for number, (utt, value) in enumerate(zip(keys, values, strict=True), start=1):
        parsed = parse_segment(value)
        if parsed is None:
            continue
        reco, start_s, end_s = parsed
        if recos is not None and reco not in recos:
            faults.add(number, f'recording "{reco}" is not in {source}', "add it there", Mend.LEFT_OUT)
        elif not 0 <= start_s < end_s:
            faults.add(number, f'a segment from {start_s} to {end_s} s has no length', "correct it",
                       Mend.LEFT_OUT)
        elif reco2dur and is_positive(reco2dur.get(reco, "")) and end_s > float(reco2dur[reco]) + MAX_OVERSHOOT_S:
            faults.add(number, f'"{utt}" ends at {end_s} s, but {RECO2DUR} says that "{reco}" has {reco2dur[reco]} s',
                       "correct one of them", Mend.LEFT_OUT)

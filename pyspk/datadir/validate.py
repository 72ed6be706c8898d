"""All faults of a data directory, table by table."""

from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

from pyspk.datadir.directory import invert
from pyspk.datadir.layout import (
    FRAME_SHIFT,
    INVERSE,
    RECO2DUR,
    SEGMENTS,
    SPK2UTT,
    TABLES,
    UTT2SPK,
    WAV,
    Key,
    check_keys,
    check_segments,
    faults_of,
    is_positive,
    parse_segment,
    scan,
    tables_in,
)
from pyspk.tables.text import Faults, Mend, read_text


def check(path: str | Path, absent: Collection[str] = (), spk_sorted: bool = True) -> Iterator[Faults]:
    """The faults of each file of the data directory `path` that has some, one file after the other.

    absent: the options of TABLES that allow a table to be absent, such as "--no-text"; a table that is there is checked
    all the same. spk_sorted: utt2spk must also be sorted by speaker.
    Memory holds utt2spk and one table. Raises UserError for a folder without utt2spk or a file that cannot be read.
    """
    path = Path(path)
    names = [table.name for table in tables_in(path)]
    for table in TABLES.values():
        if table.name not in names and table.without and table.without not in absent:
            faults = faults_of(path, table.name)
            faults.add(None, "no such file", f"make it, or allow that with {table.without}", Mend.BY_HAND)
            yield faults
    utt2spk, faults = _check_utt2spk(path, spk_sorted)
    yield from _some(faults)
    if (path / SPK2UTT).exists():
        yield from _some(_check_spk2utt(path, utt2spk))
    keys = {Key.UTT: (list(utt2spk), UTT2SPK), Key.SPK: (sorted(set(utt2spk.values()) - {""}), UTT2SPK)}
    keys[Key.RECO] = keys[Key.UTT]
    del utt2spk
    if SEGMENTS in names:
        recos, faults = _check_segments(path, keys[Key.UTT][0])
        keys[Key.RECO] = recos, SEGMENTS
        yield from _some(faults)
    for name in names:
        if name not in (UTT2SPK, SEGMENTS):
            table, faults = TABLES[name], faults_of(path, name)
            check_keys(faults, table, scan(path, table, faults)[0], *keys[table.key])
            yield from _some(faults)
    yield from _some(_check_frame_shift(path))


def require_valid(path: str | Path) -> None:
    """Raise UserError with the first fault of the first faulty file, whichever tables there are.

    The order of speakers is not asked for: it matters to Kaldi, not to what is made from the directory.
    """
    for faults in check(path, [table.without for table in TABLES.values()], spk_sorted=False):
        faults.refuse()


def _some(faults: Faults) -> list[Faults]:
    return [faults] if len(faults) else []


def _check_utt2spk(path: Path, spk_sorted: bool) -> tuple[dict[str, str], Faults]:
    faults = faults_of(path, UTT2SPK)
    keys, speakers = scan(path, TABLES[UTT2SPK], faults)
    if not keys:
        faults.add(None, "empty", "make it again", Mend.BY_HAND)
    if spk_sorted and not len(faults):      # else what is wrong is the order of the utterances, or a speaker
        for number, (before, spk) in enumerate(pairwise(speakers), start=2):
            if spk < before:
                faults.add(number, f'sorted by utterance, but not by speaker: "{spk}" comes after "{before}"',
                           "begin each utterance with its speaker, as in SPEAKER-UTTERANCE, or, if no program of Kaldi "
                           "that goes by speaker will read it, allow that with --no-spk-sort", Mend.BY_HAND)
    one_each = {spk: spk for spk in speakers}
    return {utt: one_each[spk] for utt, spk in zip(keys, speakers, strict=True) if utt}, faults


def _check_spk2utt(path: Path, utt2spk: dict[str, str]) -> Faults:
    """spk2utt against utt2spk, of which it must be the inverse."""
    faults = faults_of(path, SPK2UTT)
    spks, lists = scan(path, INVERSE, faults)
    inverse, by_hand = invert({utt: spk for utt, spk in utt2spk.items() if spk}), f"make it from {UTT2SPK}"
    check_keys(faults, INVERSE, spks, list(inverse), UTT2SPK)
    for number, (spk, line) in enumerate(zip(spks, lists, strict=True), start=1):
        utts = line.split()
        if spk not in inverse or utts == inverse[spk]:
            continue
        for utt in utts:
            if utt2spk.get(utt) != spk:
                says = f'has with speaker "{utt2spk[utt]}"' if utt in utt2spk else "does not have"
                faults.add(number, f'speaker "{spk}" has utterance "{utt}", which {UTT2SPK} {says}', by_hand)
        listed = set(utts)
        for utt in inverse[spk]:
            if utt not in listed:
                faults.add(number, f'speaker "{spk}" lacks utterance "{utt}" of {UTT2SPK}', by_hand)
        if len(listed) < len(utts):
            faults.add(number, f'speaker "{spk}" has an utterance twice', by_hand)
    return faults


def _check_segments(path: Path, utts: list[str]) -> tuple[list[str], Faults]:
    """(the recordings that segments names, sorted; its faults)."""
    faults = faults_of(path, SEGMENTS)
    keys, values = scan(path, TABLES[SEGMENTS], faults)
    check_keys(faults, TABLES[SEGMENTS], keys, utts, UTT2SPK)
    recos = set(_scanned(path, WAV)) if (path / WAV).exists() else None
    check_segments(faults, keys, values, recos, WAV, _scanned(path, RECO2DUR) if (path / RECO2DUR).exists() else None)
    named = {parsed[0] for parsed in map(parse_segment, values) if parsed}
    return sorted(named if recos is None else named & recos), faults


def _scanned(path: Path, name: str) -> dict[str, str]:
    """A table as it is; its faults are reported in its own turn."""
    return dict(zip(*scan(path, TABLES[name], Faults(path / name)), strict=True))


def _check_frame_shift(path: Path) -> Faults:
    faults = faults_of(path, FRAME_SHIFT)
    if (path / FRAME_SHIFT).exists() and not is_positive(read_text(path / FRAME_SHIFT).strip()):
        faults.add(None, "not a number of seconds above 0", "write the seconds from frame to frame, such as 0.01",
                   Mend.BY_HAND)
    return faults

"""Several data directories as one: the union of their utterances, with the tables that all of them have."""

from collections.abc import Collection, Sequence
from pathlib import Path

from pyspk.datadir.layout import AUGMENT, FEATS, FRAME_SHIFT, SEGMENTS, TABLES, UTT2AUG, UTT2SPK, WHOLE, tables_in
from pyspk.datadir.parts import finish, read_rows, read_whole_files
from pyspk.errors import UserError, first_few
from pyspk.tables.text import write_table

_DURATION = "utt2dur"


def plan(sources: Sequence[Path], skip: Collection[str]) -> tuple[list[str], list[str]]:
    """(tables of the union, in the order of TABLES; a sentence for each table that some source lacks).

    segments is in the union when any source has it: elsewhere a recording is one segment, from 0 to its utt2dur.
    Raises UserError for a table to skip that there is not, when such a source has no utt2dur, and when augmented copies
    would be forgotten to be copies before they have features.
    """
    if unknown := sorted(set(skip) - set(TABLES) | set(skip) & {UTT2SPK}):
        raise UserError(f"--skip {unknown[0]}: not a table that can be left out; those are "
                        f"{', '.join(name for name in TABLES if name != UTT2SPK)}")
    has = {source: {table.name for table in tables_in(source)} - set(skip) for source in sources}
    without_segments = [source for source in sources if SEGMENTS not in has[source]]
    if 0 < len(without_segments) < len(sources):
        for source in without_segments:
            if _DURATION not in has[source]:
                raise UserError(f"{source}: no {SEGMENTS}, which another source has, and no {_DURATION} to make it "
                                f'from; write {_DURATION}, a line "utterance seconds" for each utterance')
            has[source].add(SEGMENTS)
    kept, dropped = [], []
    for name in TABLES:
        lacking = [source for source in sources if name not in has[source]]
        if not lacking:
            kept.append(name)
        elif len(lacking) < len(sources):
            dropped.append(f"{name} is left out: {first_few(lacking)} {'have' if len(lacking) > 1 else 'has'} none")
    if UTT2AUG not in kept and FEATS not in kept and (made := [source for source in sources if UTT2AUG in has[source]]):
        raise UserError(f"{made[0] / UTT2AUG}: without it these copies would be read as what they are copies of; make "
                        "the features of all directories first, and combine them then")
    return kept, dropped


def combine(dest: Path, sources: Sequence[Path], names: Sequence[str]) -> int:
    """Write the tables `names` (of plan) of all the valid `sources` to `dest`; the number of utterances.

    utt2spk comes last, so a directory that has it is whole. Memory holds one table of the union.
    Raises UserError when two sources have different lines for one key.
    """
    whole_files = _whole_files(sources, names)
    for name in names:
        if name != UTT2SPK:
            write_table(dest / name, _union(name, sources))
    utt2spk = _union(UTT2SPK, sources)
    finish(dest, dict(sorted(utt2spk.items())), whole_files)
    return len(utt2spk)


def _union(name: str, sources: Sequence[Path]) -> dict[str, str]:
    union: dict[str, str] = {}
    for source in sources:
        rows = _rows(source, name)
        if differ := sorted(key for key in union.keys() & rows.keys() if union[key] != rows[key]):
            before = next(other for other in sources if differ[0] in _rows(other, name))
            others = f"; and {len(differ) - 1} more" if len(differ) > 1 else ""
            skip = "" if name == UTT2SPK else f", or leave the table out with --skip {name}"
            raise UserError(f'{source / name}: "{differ[0]}" has "{rows[differ[0]]}", in {before / name} it has '
                            f'"{union[differ[0]]}"{others}; give one of them another name{skip}')
        union |= rows
    return union


def _rows(source: Path, name: str) -> dict[str, str]:
    if name == SEGMENTS and not (source / name).exists():
        return {utt: f"{utt} 0 {seconds}" for utt, seconds in read_rows(source, _DURATION).items()}
    return read_rows(source, name)


_MENDS = {FRAME_SHIFT: "features of different frame shifts do not belong together: make them again alike",
          AUGMENT: f"copies made with different settings: make their features, and leave {UTT2AUG} out with --skip "
                   f"{UTT2AUG}"}


def _whole_files(sources: Sequence[Path], names: Sequence[str]) -> dict[str, str]:
    """Name -> text of the files of WHOLE that all sources have. Raises UserError when they differ."""
    of_each = {source: read_whole_files(source) for source in sources}
    kept = {}
    for name in WHOLE if UTT2AUG in names else (FRAME_SHIFT,):
        texts = {source: files[name].strip() for source, files in of_each.items() if name in files}
        first, *others = texts or [None]
        if different := [source for source in others if texts[source] != texts[first]]:
            other = different[0]
            differ = (f"{texts[other]} s, in {first / name} it is {texts[first]} s" if name == FRAME_SHIFT else
                      f"not the same as {first / name}")
            raise UserError(f"{other / name}: {differ}; {_MENDS[name]}")
        if len(texts) == len(sources):
            kept[name] = texts[first]
    return kept

"""A data directory mended: sorted, cleaned, and cut to the utterances that all its tables have.

Each file is copied to .backup/ before another takes its name. Cutting again what was cut changes nothing, so a run that
was killed is finished by the next one.
"""

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from pyspk.datadir.directory import invert
from pyspk.datadir.layout import (
    INVERSE,
    RECO2DUR,
    SEGMENTS,
    TABLES,
    UTT2SPK,
    WAV,
    Key,
    Table,
    check_segments,
    faults_of,
    parse_segment,
    scan,
    tables_in,
)
from pyspk.errors import UserError, first_few
from pyspk.tables.atomic import atomic_write
from pyspk.tables.text import Mend, read_bytes, table_lines

BACKUP = ".backup"
_SHOWN = 10


@dataclass
class Fixed:
    """What fix did: how many utterances there are now, the files it changed, and, in words, all that it left out."""

    n_utts: int = 0
    changed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def fix(path: str | Path) -> Fixed:
    """Mend the tables of the directory `path` in place; spk2utt is made from utt2spk.

    An utterance stays when each table that is there has a good line for it, for its recording, and for its speaker.
    Memory holds the names and one table. Raises UserError, and changes nothing, for what a person must decide: two
    different lines of one key, text that is not UTF-8, no utterance that all tables have.
    """
    path, fixed = Path(path), Fixed()
    utt2spk, reco_of = _shared(path, fixed)
    fixed.n_utts = len(utt2spk)
    keep = {Key.UTT: utt2spk.keys(), Key.RECO: {reco_of.get(utt, utt) for utt in utt2spk},
            Key.SPK: set(utt2spk.values())}
    for table in tables_in(path):
        rows, _ = _good_rows(path, table)
        if gone := sorted(rows.keys() - keep[table.key]):
            fixed.left_out.append(f"{path / table.name}: left out the lines of {_named(table.key, gone)}")
        _replace(path / table.name, {key: rows[key] for key in keep[table.key]}, fixed)
    inverse = invert(dict(sorted(utt2spk.items())))
    _replace(path / INVERSE.name, {spk: " ".join(utts) for spk, utts in inverse.items()}, fixed)
    return fixed


def _shared(path: Path, fixed: Fixed) -> tuple[dict[str, str], dict[str, str]]:
    """utt2spk of the utterances that all tables have, and utterance -> recording by segments (empty without).

    What goes is noted with the table that lacks it.
    """
    utt2spk: dict[str, str] = {}
    reco_of: dict[str, str] = {}
    for table in tables_in(path):
        rows, notes = _good_rows(path, table)
        if table.name == UTT2SPK:
            utt2spk = rows
        if table.name == SEGMENTS:
            reco_of = {utt: parse_segment(value)[0] for utt, value in rows.items()}
        keys_of = {Key.UTT: {}, Key.RECO: reco_of, Key.SPK: utt2spk}[table.key]       # not there: the utterance's own
        gone = [utt for utt in utt2spk if keys_of.get(utt, utt) not in rows]
        for utt in gone:
            del utt2spk[utt]
        fixed.left_out += notes
        if gone:
            fixed.left_out.append(f"{path / table.name}: no good line for {_named(Key.UTT, sorted(gone))}; left out")
        if not utt2spk:
            raise UserError(f"{path / table.name}: with it no utterance is in all tables; is one of another set? "
                            f"nothing was changed. {'; '.join(fixed.left_out[:3])}")
    return utt2spk, reco_of


def _good_rows(path: Path, table: Table) -> tuple[dict[str, str], list[str]]:
    """(the lines of a table that can stay, a note for each of the others or for the first of them).

    Raises UserError for what a person must decide.
    """
    faults = faults_of(path, table.name)
    keys, values = scan(path, table, faults)
    if table.name == SEGMENTS:
        recos, reco2dur = (_rows(path, TABLES[name]) for name in (WAV, RECO2DUR))
        check_segments(faults, keys, values, set(recos) if recos is not None else None, WAV, reco2dur)
    if undecided := faults.lines(mend=Mend.BY_HAND):
        more = f"; and {len(undecided) - 1} more such lines" if len(undecided) > 1 else ""
        raise UserError(f"{undecided[0]}{more}; a person must decide this: nothing was changed")
    bad, notes = faults.left_out(), faults.lines(_SHOWN, Mend.LEFT_OUT)
    if len(bad) > len(notes):
        notes.append(f"{path / table.name}: {len(bad) - len(notes)} more such lines; left out")
    return {key: value for number, (key, value) in enumerate(zip(keys, values, strict=True), start=1)
            if key and number not in bad}, notes


def _rows(path: Path, table: Table) -> dict[str, str] | None:
    if not (path / table.name).exists():
        return None
    return dict(zip(*scan(path, table, faults_of(path, table.name)), strict=True))


def _named(key: Key, names: list[str]) -> str:
    return f"{len(names)} {key.value}{'s' if len(names) > 1 else ''} ({first_few(names, _SHOWN)})"


def _replace(path: Path, rows: dict[str, str], fixed: Fixed) -> None:
    """Give the file these rows, sorted, what it held before going to .backup/. A file that is so already stays."""
    content = "".join(f"{line}\n" for line in table_lines(rows)).encode()
    if path.exists():
        if read_bytes(path) == content:
            return
        _back_up(path)
    with atomic_write(path, "wb") as file:
        file.write(content)
    fixed.changed.append(path.name)


def _back_up(path: Path) -> None:
    """Copy `path` into .backup/, beside what earlier runs left there: NAME, NAME.1, NAME.2, ..."""
    content, folder = read_bytes(path), path.parent / BACKUP
    for number in count():
        copy = folder / (f"{path.name}.{number}" if number else path.name)
        if not copy.exists():
            break
        if read_bytes(copy) == content:
            return
    with atomic_write(copy, "wb") as file:
        file.write(content)

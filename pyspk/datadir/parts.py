"""Data directories of some of the utterances of another: written in one pass, and utterances shared out evenly."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyspk.datadir.directory import invert
from pyspk.datadir.layout import (
    SEGMENTS,
    SPK2UTT,
    TABLES,
    UTT2SPK,
    WHOLE,
    Key,
    parse_segment,
    tables_in,
)
from pyspk.datadir.validate import require_valid
from pyspk.errors import UserError, first_few
from pyspk.tables.text import read_table, read_text, write_lines, write_table

log = logging.getLogger("pyspk")


def check_sources(sources: Sequence[Path], dest: Path | None = None) -> None:
    """Log the files of `sources` that are none of the tables, so that no step carries them along.

    Raises UserError for a source that is not valid, and when `dest`, which is to be written, is one of them.
    """
    for source in sources:
        require_valid(source)
        if dest and dest.resolve() == source.resolve():
            raise UserError(f"{dest}: is to be read and to be written; write to another place")
        known = {file.name for file in (source / UTT2SPK, *outputs(source))}
        if others := sorted(file.name for file in source.iterdir() if file.is_file() and file.name not in known):
            log.warning("%s: left out %s, not a table of a data directory", source, first_few(others, 10))


def write_parts(source: Path, parts: Mapping[Path, Sequence[str]]) -> None:
    """Write directories, destination -> utterances, with the lines that each table of the valid `source` has for them.

    utt2spk comes last, so a directory that has it is whole. Memory holds the names of all, and one table.
    """
    utt2spk = read_rows(source, UTT2SPK)
    segments = read_rows(source, SEGMENTS) if (source / SEGMENTS).exists() else {}
    reco_of = {utt: parse_segment(value)[0] for utt, value in segments.items()}
    del segments
    keys = {place: {Key.UTT: utts, Key.RECO: {reco_of.get(utt, utt) for utt in utts},
                    Key.SPK: {utt2spk[utt] for utt in utts}} for place, utts in parts.items()}
    for table in tables_in(source):
        if table.name != UTT2SPK:
            rows = read_rows(source, table.name)
            for place in parts:
                write_table(place / table.name, {key: rows[key] for key in keys[place][table.key]})
    for place, utts in parts.items():
        finish(place, {utt: utt2spk[utt] for utt in sorted(utts)}, read_whole_files(source))


def read_rows(path: Path, name: str) -> dict[str, str]:
    """A table of a directory that is known to be valid, key -> value."""
    return read_table(path / name, values=not TABLES[name].may_be_empty)


def read_whole_files(path: Path) -> dict[str, str]:
    """Name -> text of those files that hold for a whole directory, where it has them."""
    return {name: read_text(path / name) for name in WHOLE if (path / name).exists()}


def finish(place: Path, utt2spk: Mapping[str, str], whole_files: Mapping[str, str]) -> None:
    """Write what goes with the tables of a directory: files that hold for all of it, spk2utt, and at last utt2spk."""
    for name, text in whole_files.items():
        write_lines(place / name, text.splitlines())
    write_table(place / SPK2UTT, {spk: " ".join(utts) for spk, utts in invert(utt2spk).items()})
    write_table(place / UTT2SPK, utt2spk)


def outputs(place: Path) -> list[Path]:
    """All files that a directory made here may have, beside utt2spk, which comes last."""
    return [place / name for name in (*TABLES, SPK2UTT, *WHOLE) if name != UTT2SPK]


def inputs_of(sources: Sequence[Path]) -> dict[str, Path]:
    """All tables of the directories `sources`, for a record of what an output was made from."""
    return {str(file): file for source in sources for file in (source / UTT2SPK, *outputs(source)) if file.exists()}

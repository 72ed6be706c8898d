"""A Kaldi data directory as the steps read it: each table checked when it is read, and refused with a reason."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pyspk.datadir.layout import (
    SEGMENTS,
    TABLES,
    UTT2SPK,
    WAV,
    Key,
    check_segments,
    faults_of,
    fix_command,
    parse_segment,
    scan,
    tables_in,
)
from pyspk.errors import UserError, first_few
from pyspk.tables.archive import refuse_commands
from pyspk.tables.text import ALL_LINES, Faults, count_lines


class DataDir:
    """A data directory, read as it is asked for. `utt2spk` is its list of utterances; every other table must match it.

    A fault raises UserError: the first, how many more there are, and the commands that list and mend them.
    no_pipes: so does a command in an scp, whether or not it would be run. share (j, n): the j-th of n equal parts of
    the utterances, for a job that needs no others; of tables with a line for each utterance only those lines are held.
    Raises UserError when the folder or utt2spk is missing, empty or malformed.
    """

    def __init__(self, path: str | Path, no_pipes: bool = False, share: tuple[int, int] | None = None):
        self.path, self.no_pipes, self._lines = Path(path), no_pipes, ALL_LINES
        tables_in(self.path)
        if share:
            part, n_utts = share[0], count_lines(self.path / UTT2SPK)
            self._lines = slice((part - 1) * n_utts // share[1], part * n_utts // share[1])
        self.utt2spk, faults = self._read(UTT2SPK)
        faults.refuse()
        if not self.utt2spk:
            raise UserError(f'{self.path / UTT2SPK}: empty; it has a line "utterance speaker" for each utterance')

    @property
    def name(self) -> str:
        """The last part of the path, as in data/NAME."""
        return self.path.resolve().name

    @cached_property
    def spk2utt(self) -> dict[str, list[str]]:
        """Speaker -> its utterances, both in LC_ALL=C order."""
        return invert(self.utt2spk)

    def has(self, table: str) -> bool:
        """Whether the directory has this file."""
        return (self.path / table).exists()

    def table(self, name: str) -> dict[str, str]:
        """An utterance-keyed table such as feats.scp, with exactly the utterances of utt2spk.

        Raises UserError for the first malformed line, and with counts and the first three names when they differ.
        """
        table, faults = self._read(name)
        faults.refuse()
        if table.keys() != self.utt2spk.keys():
            if self._lines != ALL_LINES:      # sorted tables that agree do so in each part; the whole says what differs
                DataDir(self.path, self.no_pipes).table(name)
            raise UserError(_mismatch(self.path / name, table, self.utt2spk, fix_command(self.path)))
        return table

    def utterances(self) -> dict[str, tuple[str, float | None, float | None]]:
        """Utterance -> (rxfilename of its recording, start, end in seconds; None, None for a whole recording).

        From wav.scp and, where it exists, segments. Raises UserError for a malformed line or an unknown recording.
        """
        if not self.has(SEGMENTS):
            return {utt: (rxfilename, None, None) for utt, rxfilename in self.table(WAV).items()}
        recordings, faults = self._read(WAV)
        faults.refuse()
        segments, faults = self.table(SEGMENTS), faults_of(self.path, SEGMENTS, self._lines.start)
        check_segments(faults, segments, segments.values(), set(recordings), f"{self.path}/{WAV}")
        faults.refuse()
        spans = {utt: parse_segment(value) for utt, value in segments.items()}
        return {utt: (recordings[reco], start_s, end_s) for utt, (reco, start_s, end_s) in spans.items()}

    def inputs(self, *names: str, optional: Sequence[str] = ()) -> dict[str, Path]:
        """The files `names`, and the `optional` ones that exist, for a record of what an output was made from."""
        there = [*names, *(name for name in optional if self.has(name))]
        return {f"{self.name}/{name}": self.path / name for name in there}

    def _read(self, name: str) -> tuple[dict[str, str], Faults]:
        by_utt = TABLES[name].key is Key.UTT or (name == WAV and not self.has(SEGMENTS))
        lines = self._lines if by_utt else ALL_LINES
        faults = faults_of(self.path, name, lines.start)
        keys, values = scan(self.path, TABLES[name], faults, lines)
        table = dict(zip(keys, values, strict=True))
        if self.no_pipes and name.endswith(".scp") and not faults:
            refuse_commands(self.path / name, table, lines.start)
        return table, faults


def invert(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """Speaker -> its utterances in the order of `utt2spk`; speakers in LC_ALL=C order."""
    inverse: dict[str, list[str]] = {}
    for utt, spk in utt2spk.items():
        inverse.setdefault(spk, []).append(utt)
    return dict(sorted(inverse.items()))


def _mismatch(path: Path, table: Mapping[str, str], utt2spk: Mapping[str, str], fix: str) -> str:
    parts = []
    if missing := [utt for utt in utt2spk if utt not in table]:
        parts.append(f"{len(missing)} utterances of utt2spk are missing ({first_few(missing)})")
    if extra := [utt for utt in table if utt not in utt2spk]:
        parts.append(f"{len(extra)} are not in utt2spk ({first_few(extra)})")
    return f"{path}: {' and '.join(parts)}; {fix} keeps what all tables have"

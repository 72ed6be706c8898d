"""A Kaldi data directory: its tables read, checked against each other, and refused with a reason."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pyspk.errors import UserError, first_few
from pyspk.tables.text import read_table


class DataDir:
    """A data directory, read as it is asked for. `utt2spk` is its list of utterances; every other table must match it.

    Raises UserError when the folder or utt2spk is missing, empty or malformed.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"{path}: no such data directory")
        self.utt2spk = read_table(self.path / "utt2spk")
        if not self.utt2spk:
            raise UserError(f"{self.path / 'utt2spk'}: empty")
        for number, (utt, spk) in enumerate(self.utt2spk.items(), start=1):
            if " " in spk or "\t" in spk:
                raise UserError(f'{self.path}/utt2spk:{number}: "{utt} {spk}" has more than two columns')

    @property
    def name(self) -> str:
        """The last part of the path, as in data/NAME."""
        return self.path.resolve().name

    @cached_property
    def spk2utt(self) -> dict[str, list[str]]:
        """Speaker -> its utterances, both in LC_ALL=C order."""
        inverse: dict[str, list[str]] = {}
        for utt, spk in self.utt2spk.items():
            inverse.setdefault(spk, []).append(utt)
        return dict(sorted(inverse.items()))

    def has(self, table: str) -> bool:
        """Whether the directory has this file."""
        return (self.path / table).exists()

    def table(self, name: str) -> dict[str, str]:
        """An utterance-keyed table such as feats.scp, with exactly the utterances of utt2spk.

        Raises UserError with counts and the first three names when they differ.
        """
        table = read_table(self.path / name)
        if table.keys() != self.utt2spk.keys():
            raise UserError(_mismatch(self.path / name, table, self.utt2spk))
        return table

    def utterances(self) -> dict[str, tuple[str, float | None, float | None]]:
        """Utterance -> (rxfilename of its recording, start, end in seconds; None, None for a whole recording).

        From wav.scp and, where it exists, segments. Raises UserError for a malformed line or an unknown recording.
        """
        if not self.has("segments"):
            return {utt: (rxfilename, None, None) for utt, rxfilename in self.table("wav.scp").items()}
        recordings = read_table(self.path / "wav.scp")
        spans = {}
        for number, (utt, line) in enumerate(self.table("segments").items(), start=1):
            where = f"{self.path}/segments:{number}"
            try:
                recording, start, end = line.split()
                start_s, end_s = float(start), float(end)
            except ValueError:
                raise UserError(f'{where}: "{utt} {line}" is not "utterance recording start end"') from None
            if recording not in recordings:
                raise UserError(f'{where}: recording "{recording}" is not in {self.path}/wav.scp')
            if not 0 <= start_s < end_s:
                raise UserError(f"{where}: a segment from {start_s} to {end_s} s has no length")
            spans[utt] = (recordings[recording], start_s, end_s)
        return spans

    def inputs(self, *names: str, optional: Sequence[str] = ()) -> dict[str, Path]:
        """The files `names`, and the `optional` ones that exist, for a record of what an output was made from."""
        there = [*names, *(name for name in optional if self.has(name))]
        return {f"{self.name}/{name}": self.path / name for name in there}


def _mismatch(path: Path, table: Mapping[str, str], utt2spk: Mapping[str, str]) -> str:
    parts = []
    if missing := [utt for utt in utt2spk if utt not in table]:
        parts.append(f"{len(missing)} utterances of utt2spk are missing ({first_few(missing)})")
    if extra := [utt for utt in table if utt not in utt2spk]:
        parts.append(f"{len(extra)} are not in utt2spk ({first_few(extra)})")
    return f"{path}: {' and '.join(parts)}; keep the same utterances in both (Kaldi's fix_data_dir.sh does)"

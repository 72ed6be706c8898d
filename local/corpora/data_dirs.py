"""Kaldi data directories of a corpus on disk, written whole or not at all."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pyspk.errors import first_few
from pyspk.tables.records import State, begin
from pyspk.tables.text import write_lines, write_table

OPTIONAL = ("spk2gender", "utt2dur", "reco2dur", "reco2num_channels", "utt2room")

log = logging.getLogger("pyspk")


def is_current(folder: Path, files: Mapping[str, str], settings: Mapping[str, object], inputs: Mapping[str, Path],
               overwrite: bool) -> bool:
    """Whether the data directory `folder` was made from the same; else this run's record is begun there.

    files: utterance -> its file; they count as the same by their names. Raises UserError as records.begin does.
    """
    digest = hashlib.sha256()
    for utt in sorted(files):
        digest.update(f"{utt} {files[utt]}\n".encode())
    settings = {**settings, "files": f"{len(files)} (hash {digest.hexdigest()[:12]})"}
    if begin(folder / "wav.scp", settings, inputs, overwrite) is State.CURRENT:
        log.info("%s is current", folder)
        return True
    return False


def write_data_dir(folder: Path, files: Mapping[str, str], rxfilename: Callable[[str], str],
                   speaker_of: Callable[[str], str], tables: Mapping[str, Mapping[str, object]]) -> None:
    """Write a data directory: wav.scp, which comes last and so tells that all is there, utt2spk, spk2utt and `tables`.

    files: utterance -> file; rxfilename: file -> what wav.scp says; speaker_of: utterance -> speaker; tables: name, one
    of OPTIONAL -> the table. OPTIONAL tables that an earlier run left are removed.
    """
    utts = sorted(files)
    spk2utt: dict[str, list[str]] = {}
    for utt in utts:
        spk2utt.setdefault(speaker_of(utt), []).append(utt)
    for name in OPTIONAL:
        if name in tables:
            write_table(folder / name, tables[name])
        else:
            (folder / name).unlink(missing_ok=True)
    write_lines(folder / "spk2utt", (f"{spk} {' '.join(spk2utt[spk])}" for spk in sorted(spk2utt)))
    write_lines(folder / "utt2spk", (f"{utt} {speaker_of(utt)}" for utt in utts))
    write_lines(folder / "wav.scp", (f"{utt} {rxfilename(files[utt])}" for utt in utts))
    log.info("wrote %d utterances of %d speakers to %s", len(utts), len(spk2utt), folder)


def write_left_out(folder: Path, names: Sequence[str], layout: str) -> None:
    """Write files that do not fit the `layout` of their corpus to folder/left_out, and say how many they are."""
    write_lines(folder / "left_out", (f"{name!a}\tnot {layout}" for name in sorted(names)))
    if names:
        log.warning("left out %d files that are not %s (%s); %s names them", len(names), layout,
                    first_few(map(ascii, sorted(names))), folder / "left_out")

"""The features of a data directory, normalised, and with the voiced frames alone where that is wanted."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pyspk.datadir import DataDir
from pyspk.datadir.layout import FEATS, SPK2UTT, TABLES, WHOLE
from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveReader
from pyspk.tables.atomic import atomic_write
from pyspk.tables.text import write_table

log = logging.getLogger("pyspk")
_OF_OTHER_FEATURES = {FEATS, "vad.scp", "utt2num_frames", "cmvn.scp"}


def normalised_reader(data: DataDir, normalise: Callable[[np.ndarray], np.ndarray],
                      select_voiced: bool) -> Callable[[str], np.ndarray]:
    """utterance -> its features (T, F) through `normalise`, then only the rows that vad.scp calls voiced.

    As in Kaldi's recipes the normalisation sees all frames. An utterance without any voiced frame keeps all, with a
    warning. The reader raises UserError for one without frames, and when vad.scp has another number of them.
    """
    feats, reader = data.table("feats.scp"), ArchiveReader()
    vad = data.table("vad.scp") if select_voiced else None

    def read(utt: str) -> np.ndarray:
        whole = reader.matrix(feats[utt])
        if len(whole) == 0:
            raise UserError(f"it has no frames: {feats[utt]}; make them again, or leave it out")
        if vad is None:
            return normalise(whole)
        decisions = reader.vector(vad[utt])
        if len(decisions) != len(whole):
            raise UserError(f"it has {len(whole)} frames, but {len(decisions)} decisions in vad.scp; "
                            "make vad.scp again from these features")
        if not decisions.any():
            log.warning('utterance "%s" has no voiced frame; all its frames are kept', utt)
            return normalise(whole)
        return normalise(whole)[decisions != 0]

    return read


def kept_tables(data: DataDir, select_voiced: bool) -> list[str]:
    """The files of `data` that hold for its normalised features too: vad.scp only while all frames are there."""
    gone = _OF_OTHER_FEATURES if select_voiced else _OF_OTHER_FEATURES - {"vad.scp"}
    return [name for name in (*TABLES, SPK2UTT, *WHOLE) if name not in gone and data.has(name)]


def write_normalised(data: DataDir, kept: list[str], table: Mapping[str, str], out_dir: Path) -> None:
    """Write a data directory: the files `kept` of `data`, and `table` as its feats.scp."""
    for name in kept:
        with atomic_write(out_dir / name, "wb") as file:
            file.write((data.path / name).read_bytes())
    write_table(out_dir / "feats.scp", table)

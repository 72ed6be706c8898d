"""Quality measures of utterances, each a table with a number for each utterance.

Durations: Mandasari et al. 2013, "Quality measure functions for calibration of speaker recognition systems in various
duration conditions" (IEEE TASLP). Norms and cohort means: Thienpondt et al. 2021, "The IDLAB VoxCeleb Speaker
Recognition Challenge 2020 system description".
"""

from collections.abc import Mapping
from math import log
from pathlib import Path

import numpy as np

from pyspk.datadir import DataDir
from pyspk.datadir.layout import FRAME_SHIFT, is_positive
from pyspk.errors import UserError, first_few
from pyspk.scoring.cohort import cohort_statistics
from pyspk.scoring.cosine import read_embeddings
from pyspk.scoring.vectors import check_dim
from pyspk.tables.archive import ArchiveReader, read_scp, read_vector
from pyspk.tables.text import read_text, write_table

_DEFAULT_SHIFT_S = 0.01


def write_log_durations(data: DataDir, out: str | Path) -> int:
    """Write the natural logarithm of each utterance's speech in seconds to `out`; returns how many.

    Speech is what vad.scp says; without it, all of the utterance, as utt2num_frames or utt2dur say. A frame lasts what
    frame_shift says, else 10 ms. Raises UserError when there is none of these, and for utterances without speech.
    """
    shift_s = _frame_shift_s(data)
    if data.has("vad.scp"):
        reader = ArchiveReader()
        seconds = {utt: shift_s * float(reader.vector(at).sum()) for utt, at in data.table("vad.scp").items()}
    elif data.has("utt2num_frames"):
        seconds = {utt: shift_s * int(n) for utt, n in data.table("utt2num_frames").items()}
    elif data.has("utt2dur"):
        seconds = {utt: float(duration) for utt, duration in data.table("utt2dur").items()}
    else:
        raise UserError(f"{data.path}: no vad.scp, utt2num_frames or utt2dur; compute_vad.py makes vad.scp")
    if silent := [utt for utt, length in seconds.items() if not length > 0]:
        raise UserError(f"{data.path}: {len(silent)} of {len(seconds)} utterances have no speech "
                        f"({first_few(silent)}); take them out")
    return _write(out, {utt: log(length) for utt, length in seconds.items()})


def write_norms(xvector_scp: str | Path, out: str | Path) -> int:
    """Write the Euclidean norm of each embedding, as it was extracted, to `out`; returns how many."""
    reader = ArchiveReader()
    return _write(out, {utt: float(np.linalg.norm(reader.vector(at).astype(np.float64)))
                        for utt, at in read_scp(xvector_scp).items()})


def write_cohort_means(xvector_scp: str | Path, cohort_scp: str | Path, out: str | Path, top_n: int = 300,
                       mean: str | Path | None = None) -> int:
    """Write the mean of each embedding's top_n highest cosines against a cohort to `out`; returns how many.

    mean: rxfilename of a vector that is taken off each embedding first. Raises UserError as read_embeddings and
    cohort_statistics do.
    """
    vector = None if mean is None else read_vector(mean)
    names, emb = read_embeddings(xvector_scp, mean=vector)
    _, cohort = read_embeddings(cohort_scp, mean=vector)
    check_dim(cohort, emb.shape[1], cohort_scp, xvector_scp)
    return _write(out, dict(zip(names, cohort_statistics(emb, cohort, top_n)[0].tolist(), strict=True)))


def _frame_shift_s(data: DataDir) -> float:
    if not data.has(FRAME_SHIFT):
        return _DEFAULT_SHIFT_S
    path = data.path / FRAME_SHIFT
    text = read_text(path).strip()
    if not is_positive(text):
        raise UserError(f"{path}: not a number of seconds above 0; write the seconds from frame to frame, such as 0.01")
    return float(text)


def _write(out: str | Path, measure: Mapping[str, float]) -> int:
    write_table(out, {utt: f"{value:.7g}" for utt, value in measure.items()})
    return len(measure)

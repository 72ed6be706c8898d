"""Cosine scores of a trial list, from the embeddings that it names and no others."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyspk.errors import UserError, first_few
from pyspk.scoring.trials import Scores, Trials, look_up, read_trials, write_scores
from pyspk.tables.archive import ArchiveReader, read_scp, read_vector

_BLOCK_TRIALS = 1 << 14                  # scored at a time: 2 x 16 MiB of embeddings at D = 256


class TrialEmbeddings(NamedTuple):
    """The m embeddings that n trials name, and where each trial finds its two."""

    names: list[str]                     # m
    emb: np.ndarray                      # (m, D) float32, norm 1
    enroll: np.ndarray                   # (n,) rows of emb
    test: np.ndarray                     # (n,) rows of emb


def score_file(trials: str | Path, enroll_scp: str | Path, test_scp: str | Path, out: str | Path,
               mean: str | Path | None = None, no_pipes: bool = False) -> int:
    """Write the cosine score of each trial to `out`, in the order of the trials; returns how many.

    Enroll names are looked up in enroll_scp, test names in test_scp. mean: rxfilename of a vector (D,) that is taken
    off each embedding first. Raises UserError as read_trials, read_vector and read_embeddings do.
    """
    listed = read_trials(trials)
    vector = None if mean is None else read_vector(mean, no_pipes)
    found = trial_embeddings(listed, enroll_scp, test_scp, vector, no_pipes)
    score = cosine(found.emb, found.enroll, found.test)
    write_scores(out, Scores(listed.names, listed.enroll, listed.test, score))
    return len(score)


def cosine(emb: np.ndarray, enroll: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The inner products (n,) of rows enroll (n,) and test (n,) of emb (m, D), norm 1, some trials at a time."""
    score = np.empty(len(enroll), dtype=emb.dtype)
    for start in range(0, len(score), _BLOCK_TRIALS):
        block = slice(start, start + _BLOCK_TRIALS)
        np.einsum("nd,nd->n", emb[enroll[block]], emb[test[block]], out=score[block])
    return score


def trial_embeddings(pairs: Trials | Scores, enroll_scp: str | Path, test_scp: str | Path,
                     mean: np.ndarray | None = None, no_pipes: bool = False) -> TrialEmbeddings:
    """The embeddings that occur in `pairs`, each read once when both scp files are the same file.

    Raises UserError as read_embeddings does, and when the two scp files differ in dimension.
    """
    n = len(pairs.enroll)
    if Path(enroll_scp) == Path(test_scp):
        names, emb, row = _used(pairs.names, np.concatenate([pairs.enroll, pairs.test]), enroll_scp, mean,
                                no_pipes)
        return TrialEmbeddings(names, emb, row[:n], row[n:])
    enroll_names, enroll_emb, enroll_row = _used(pairs.names, pairs.enroll, enroll_scp, mean, no_pipes)
    test_names, test_emb, test_row = _used(pairs.names, pairs.test, test_scp, mean, no_pipes)
    check_dim(test_emb, enroll_emb.shape[1], test_scp, enroll_scp)
    return TrialEmbeddings(enroll_names + test_names, np.concatenate([enroll_emb, test_emb]), enroll_row,
                           test_row + len(enroll_emb))


def read_embeddings(scp: str | Path, names: list[str] | None = None,
                    mean: np.ndarray | None = None, no_pipes: bool = False) -> tuple[list[str], np.ndarray]:
    """names and their embeddings minus mean (D,), (n, D) float32 of norm 1; all that the scp has by default.

    Raises UserError as read_scp does, for names that the scp lacks, for embeddings (or a mean) of another dimension
    than the first, and for those that are zero or not finite, so that they have no direction.
    """
    table = read_scp(scp, no_pipes)
    names = list(table) if names is None else names
    if not names:
        raise UserError(f"{scp}: empty")
    reader = ArchiveReader()
    for row, rxfilename in enumerate(look_up(table, names, scp)):
        vector = reader.vector(rxfilename)
        if row == 0:
            emb = np.empty((len(names), len(vector)), dtype=np.float32)
        check_dim(vector, emb.shape[1], f'{scp}: "{names[row]}"', f'"{names[0]}"')
        emb[row] = vector
    if mean is not None:
        check_dim(mean, emb.shape[1], "the mean", scp)
        emb -= mean
    norm = np.sqrt(np.einsum("nd,nd->n", emb, emb))
    if (bad := np.flatnonzero(~(np.isfinite(norm) & (norm > 0)))).size:
        raise UserError(f"{scp}: {len(bad)} of {len(names)} embeddings{'' if mean is None else ' less the mean'} are "
                        f"zero or not finite ({first_few([names[i] for i in bad[:4]])}); extract them again, or take "
                        "their trials out")
    emb /= norm[:, None]
    return names, emb


def check_dim(emb: np.ndarray, dim: int, what: object, like: object) -> None:
    """Raise UserError when the last dimension of `emb` is not `dim`."""
    if emb.shape[-1] != dim:
        raise UserError(f"{what} has dimension {emb.shape[-1]}, {like} has {dim}; they must come from one model")


def _used(names: list[str], places: np.ndarray, scp: str | Path, mean: np.ndarray | None,
          no_pipes: bool) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The names that occur at `places`, their embeddings, and the row of each place, (n,)."""
    is_used = np.zeros(len(names), dtype=bool)
    is_used[places] = True
    row = np.cumsum(is_used) - 1
    return *read_embeddings(scp, [names[i] for i in np.flatnonzero(is_used)], mean, no_pipes), row[places]

"""Adaptive symmetric score normalisation (adaptive s-norm) of a score file.

For each embedding the mean and standard deviation of its top_n highest cosine scores against a cohort; a score is
normalised by those of its two sides, and the two results averaged. Source: Matejka et al. 2017, "Analysis of Score
Normalization in Multilingual Speaker Recognition" (Interspeech), the variant AS-Norm1: each side's cohort is chosen
by that side's own scores.
"""

import logging
from pathlib import Path

import numpy as np

from pyspk.errors import UserError, first_few
from pyspk.scoring.cosine import check_dim, read_embeddings, trial_embeddings
from pyspk.scoring.trials import read_scores, write_scores
from pyspk.tables.archive import read_vector

log = logging.getLogger(__name__)

_BLOCK_SCORES = 1 << 23                  # cohort scores held at a time: 32 MiB
_LEAST_STD = 1e-6                        # float32 cosines are no finer


def normalize_file(scores: str | Path, eval_scp: str | Path, cohort_scp: str | Path, out: str | Path,
                   top_n: int = 300, mean: str | Path | None = None, test_scp: str | Path | None = None,
                   no_pipes: bool = False) -> int:
    """Write the adaptive s-norm of each cosine score to `out`, in the order of `scores`; returns how many.

    eval_scp holds the enroll and test embeddings; with test_scp, the enroll embeddings alone. mean: rxfilename of a
    vector (D,) that is taken off each embedding first, cohort included, as it was for the scores.
    Raises UserError as read_scores, read_embeddings and cohort_statistics do, and for an embedding whose best cohort
    scores are all alike: there is no spread to divide by.
    """
    given = read_scores(scores)
    vector = None if mean is None else read_vector(mean, no_pipes)
    found = trial_embeddings(given, eval_scp, eval_scp if test_scp is None else test_scp, vector, no_pipes)
    _, cohort = read_embeddings(cohort_scp, mean=vector, no_pipes=no_pipes)
    check_dim(cohort, found.emb.shape[1], cohort_scp, eval_scp)
    mu, std = cohort_statistics(found.emb, cohort, top_n)
    if (bad := np.flatnonzero(std < _LEAST_STD)).size:
        raise UserError(f"{cohort_scp}: the best cohort scores of {len(bad)} embeddings are all alike "
                        f"({first_few([found.names[i] for i in bad[:4]])}); is the cohort made of copies, or "
                        "--top-n too small?")
    write_scores(out, given._replace(score=normalize(given.score, mu, std, found.enroll, found.test)))
    return len(given.score)


def cohort_statistics(emb: np.ndarray, cohort: np.ndarray, top_n: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean, std), (m,) float64 each, of the top_n highest cosines of each emb (m, D) against cohort (C, D).

    Both of norm 1. std divides by top_n. A cohort of fewer than top_n is used whole, and the log says so.
    Memory: a fixed number of cohort scores, whatever m. Raises UserError for a cohort or a top_n below 2.
    """
    if min(len(cohort), top_n) < 2:
        raise UserError(f"a cohort of {len(cohort)} and a top-n of {top_n}: a standard deviation needs at least 2")
    if len(cohort) < top_n:
        log.warning("the cohort has %d embeddings, fewer than top-n %d: all of them are used", len(cohort), top_n)
    n_rest = max(len(cohort) - top_n, 0)
    mean, std = np.empty(len(emb)), np.empty(len(emb))
    n_rows = max(_BLOCK_SCORES // len(cohort), 1)
    buffer = np.empty((min(n_rows, len(emb)), len(cohort)), dtype=np.float32)
    for start in range(0, len(emb), n_rows):
        block = slice(start, start + n_rows)
        scores = np.matmul(emb[block], cohort.T, out=buffer[:len(emb[block])])      # (rows, C)
        if n_rest:
            scores.partition(n_rest, axis=1)                       # a selection, not a sort: O(C) a row
        mean[block] = scores[:, n_rest:].mean(axis=1, dtype=np.float64)
        std[block] = scores[:, n_rest:].std(axis=1, dtype=np.float64)
    return mean, std


def normalize(score: np.ndarray, mean: np.ndarray, std: np.ndarray, enroll: np.ndarray,
              test: np.ndarray) -> np.ndarray:
    """((s - mean_e) / std_e + (s - mean_t) / std_t) / 2, (n,) float64: AS-Norm1 of Matejka et al. 2017.

    score (n,); mean, std (m,): each embedding's; enroll, test (n,): places in them.
    """
    return ((score - mean[enroll]) / std[enroll] + (score - mean[test]) / std[test]) / 2

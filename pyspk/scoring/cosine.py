"""Cosine scores of a trial list, from the embeddings that it names and no others."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyspk.scoring.blocks import inner_products
from pyspk.scoring.trials import Scores, Trials, read_trials, write_scores
from pyspk.scoring.vectors import TrialVectors, check_dim, read_vectors, to_norm_1, trial_vectors
from pyspk.tables.archive import read_vector


class Enrollment(NamedTuple):
    """Models that several utterances enroll, and what is averaged over the utterances of one."""

    path: str | Path                     # lines "MODEL UTT UTT ...": read_enroll_map
    average: str = "embedding"           # one of AVERAGES


AVERAGES = ("embedding", "score")


def score_file(trials: str | Path, enroll_scp: str | Path, test_scp: str | Path, out: str | Path,
               mean: str | Path | None = None, enrollment: Enrollment | None = None, device: str = "cpu") -> int:
    """Write the cosine score of each trial to `out`, in the order of the trials; returns how many.

    Enroll names are looked up in enroll_scp, test names in test_scp. mean: rxfilename of a vector (D,) that is taken
    off each embedding first. Raises UserError as read_trials and trial_embeddings do.
    """
    listed = read_trials(trials)
    found = trial_embeddings(listed, enroll_scp, test_scp, None if mean is None else read_vector(mean), enrollment)
    score = inner_products(found.emb, found.emb, found.enroll, found.test, device)
    write_scores(out, Scores(listed.names, listed.enroll, listed.test, score))
    return len(score)


def trial_embeddings(pairs: Trials | Scores, enroll_scp: str | Path, test_scp: str | Path,
                     mean: np.ndarray | None = None, enrollment: Enrollment | None = None) -> TrialVectors:
    """The embeddings that occur in `pairs`, of norm 1, and those of models.

    A model is the mean of its utterances' embeddings of norm 1: divided by its own length when embeddings are averaged;
    as it is when scores are, because the mean of inner products is the inner product with the mean. A model of one
    utterance is that utterance. Raises UserError as trial_vectors and read_embeddings do, and for models whose
    utterances cancel each other.
    """
    found = trial_vectors(pairs, enroll_scp, test_scp, partial(read_embeddings, mean=mean),
                          enrollment and enrollment.path)
    if enrollment and enrollment.average == "embedding":
        several = np.flatnonzero(found.n_utts > 1)
        models = found.emb[several]
        to_norm_1(models, [found.names[row] for row in several], enrollment.path, "averages of a model's embeddings")
        found.emb[several] = models
    return found


def read_embeddings(scp: str | Path, names: list[str] | None = None,
                    mean: np.ndarray | None = None) -> tuple[list[str], np.ndarray]:
    """names and their embeddings minus mean (D,), (n, D) float32 of norm 1; all that the scp has by default.

    Raises UserError as read_vectors and to_norm_1 do, and for a mean of another dimension.
    """
    names, emb = read_vectors(scp, names)
    if mean is not None:
        check_dim(mean, emb.shape[1], "the mean", scp)
        emb -= mean
    to_norm_1(emb, names, scp, "embeddings" if mean is None else "embeddings less the mean")
    return names, emb

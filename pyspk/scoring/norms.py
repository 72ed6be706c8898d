"""Score normalisation: a score in standard deviations above what its two sides get against a cohort of other speakers.

With (mu_e, sd_e) the moments of the enroll side's cohort scores and (mu_t, sd_t) those of the test side's:

    z     (s - mu_e) / sd_e, over the whole cohort            Auckenthaler et al. 2000, section 4.1
    t     (s - mu_t) / sd_t, over the whole cohort            Auckenthaler et al. 2000, section 4.2
    s     the mean of z and t                                 Kenny 2010, "Bayesian speaker verification with ..."
    as1   as s, over the top_n members of the cohort          Matejka et al. 2017, AS-Norm1
          that are closest to the side itself
    as2   as s, over the top_n members that are               Matejka et al. 2017, AS-Norm2
          closest to the other side

The cohort may be one of utterances or of speaker means: what its scp holds.
"""

from pathlib import Path

import numpy as np

from pyspk.errors import UserError, first_few
from pyspk.scoring.backend import read_backend
from pyspk.scoring.cohort import Device, Moments, cohort_statistics, cross_statistics
from pyspk.scoring.cosine import Enrollment, read_embeddings, trial_embeddings
from pyspk.scoring.plda import as_inner_products
from pyspk.scoring.trials import Scores, read_scores, write_scores
from pyspk.scoring.vectors import TrialVectors, check_dim, trial_vectors
from pyspk.tables.archive import read_vector

NORMS = ("as1", "as2", "s", "z", "t")
_LEAST_STD = 1e-6                        # float32 cosines are no finer


def normalize_file(scores: str | Path, eval_scp: str | Path, cohort_scp: str | Path, out: str | Path,
                   top_n: int = 300, mean: str | Path | None = None, test_scp: str | Path | None = None,
                   norm: str = "as1", enrollment: Enrollment | None = None, device: Device = "cpu") -> int:
    """Write each cosine score, normalised, to `out`, in the order of `scores`; returns how many.

    eval_scp holds the enroll and test embeddings; with test_scp, the enroll embeddings alone. mean: rxfilename of a
    vector (D,) that is taken off each embedding first, cohort included, as it was for the scores. norm: one of NORMS;
    z, t and s take no heed of top_n. enrollment: the models and averages of the scores.
    Raises UserError as read_scores, trial_embeddings and cohort_statistics do, and for an embedding whose cohort scores
    are all alike: there is no spread to divide by.
    """
    given = read_scores(scores)
    vector = None if mean is None else read_vector(mean)
    found = trial_embeddings(given, eval_scp, eval_scp if test_scp is None else test_scp, vector, enrollment)
    _, cohort = read_embeddings(cohort_scp, mean=vector)
    check_dim(cohort, found.emb.shape[1], cohort_scp, eval_scp)
    return _write_normalized(given, found, cohort, cohort_scp, out, top_n, norm, device)


def normalize_plda_file(plda_dir: str | Path, scores: str | Path, eval_scp: str | Path, cohort_scp: str | Path,
                        out: str | Path, top_n: int = 300, test_scp: str | Path | None = None, norm: str = "as1",
                        enroll_map: str | Path | None = None, normalizes_length: bool = False,
                        device: Device = "cpu") -> int:
    """As normalize_file, for scores of the PLDA back end plda_dir: the cohort's scores are its ratios.

    enroll_map, normalizes_length: as backend.score_file had them. Raises UserError as read_backend does, too.
    """
    frontend, plda = read_backend(plda_dir)
    given = read_scores(scores)
    found = trial_vectors(given, eval_scp, eval_scp if test_scp is None else test_scp, frontend.read, enroll_map)
    _, cohort = frontend.read(cohort_scp)
    u, others = (plda.project(x, n if normalizes_length else None)
                 for x, n in ((found.emb, found.n_utts), (cohort, np.ones(len(cohort)))))
    left, right = as_inner_products(plda.psi, u, found.n_utts, others)
    return _write_normalized(given, found._replace(emb=left), right, cohort_scp, out, top_n, norm, device)


def _write_normalized(given: Scores, found: TrialVectors, cohort: np.ndarray, cohort_scp: str | Path, out: str | Path,
                      top_n: int, norm: str, device: Device) -> int:
    """Write `given`, normalised, to `out`; inner products of found.emb and cohort are the cohort's scores."""
    sides = trial_moments(found, cohort, norm, top_n, device)
    _refuse_no_spread(sides, found, cohort_scp)
    write_scores(out, given._replace(score=normalize(given.score, list(sides.values()))))
    return len(given.score)


def trial_moments(found: TrialVectors, cohort: np.ndarray, norm: str, top_n: int,
                  device: Device = "cpu") -> dict[str, Moments]:
    """"enroll", "test" or both -> the moments (n,) that `norm` takes of that side of each trial; cohort (C, D)."""
    places = {"enroll": found.enroll, "test": found.test}
    if norm == "as2":
        both = cross_statistics(found.emb, cohort, top_n, found.enroll, found.test, device)
        return dict(zip(places, both, strict=True))
    mean, std = cohort_statistics(found.emb, cohort, top_n if norm == "as1" else None, device)
    sides = {"z": ["enroll"], "t": ["test"], "s": ["enroll", "test"], "as1": ["enroll", "test"]}[norm]
    return {side: Moments(mean[places[side]], std[places[side]]) for side in sides}


def normalize(score: np.ndarray, sides: list[Moments]) -> np.ndarray:
    """The mean over the sides of (s - mean) / std, (n,) float64. score (n,); moments (n,) of one side or both."""
    return sum((score - side.mean) / side.std for side in sides) / len(sides)


def _refuse_no_spread(sides: dict[str, Moments], found: TrialVectors, cohort_scp: str | Path) -> None:
    bad = np.unique(np.concatenate([getattr(found, side)[moments.std < _LEAST_STD] for side, moments in sides.items()]))
    if bad.size:
        raise UserError(f"{cohort_scp}: the cohort scores of {len(bad)} embeddings are all alike "
                        f"({first_few([found.names[i] for i in bad[:4]])}); is the cohort made of copies, or "
                        "--top-n too small?")

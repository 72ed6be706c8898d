"""PLDA's covariances, from vectors of known speakers: their statistics, and expectation maximisation."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pyspk.errors import UserError
from pyspk.scoring.plda import Plda

log = logging.getLogger(__name__)


class Statistics(NamedTuple):
    """What PLDA and LDA need of M vectors of N speakers; float64."""

    n_utts: np.ndarray                   # (N,): of each speaker
    sums: np.ndarray                     # (N, D): of each speaker's vectors
    scatter: np.ndarray                  # (D, D): the sum of x x^T over all

    @property
    def mean(self) -> np.ndarray:
        """The mean (D,) of all vectors."""
        return self.sums.sum(axis=0) / self.n_utts.sum()

    @property
    def total(self) -> np.ndarray:
        """The covariance (D, D) of all vectors about their mean."""
        return self.scatter / self.n_utts.sum() - np.outer(self.mean, self.mean)

    @property
    def within(self) -> np.ndarray:
        """The covariance (D, D) of vectors about their speaker's mean, unbiased: divided by M - N.

        Raises UserError when these are fewer than D, so that it would not be positive definite.
        """
        n_free = int(self.n_utts.sum()) - len(self.n_utts)
        if n_free < len(self.scatter):
            raise UserError(f"{int(self.n_utts.sum())} utterances of {len(self.n_utts)} speakers are too few for "
                            f"{len(self.scatter)} dimensions: there must be as many more utterances than speakers")
        return (self.scatter - self.sums.T @ (self.sums / self.n_utts[:, None])) / n_free

    def centred(self) -> "Statistics":
        """Those of the vectors less their mean."""
        sums = self.sums - self.n_utts[:, None] * self.mean
        return Statistics(self.n_utts, sums, self.total * self.n_utts.sum())


def collect(blocks: Iterable[tuple[slice, np.ndarray]], spk: np.ndarray) -> Statistics:
    """The statistics of M vectors, in blocks of (which of them, (rows, D)); spk (M,): their speakers, 0 to N - 1.

    Raises UserError for fewer than two speakers, or when none has two vectors.
    """
    n_utts = np.bincount(spk)
    if len(n_utts) < 2 or n_utts.max() < 2:
        raise UserError(f"{len(spk)} utterances of {len(n_utts)} speakers: PLDA and LDA need several speakers, some "
                        "with several utterances")
    sums = scatter = None
    for which, vectors in blocks:
        x = vectors.astype(np.float64)
        if sums is None:
            sums, scatter = np.zeros((len(n_utts), x.shape[1])), np.zeros((x.shape[1], x.shape[1]))
        np.add.at(sums, spk[which], x)
        scatter += x.T @ x
    return Statistics(n_utts.astype(np.float64), sums, scatter)


class FactorModel(NamedTuple):
    """x = mean + loading h + e, h ~ N(0, I) of R dimensions, e ~ N(0, within): simplified PLDA; float64.

    Garcia-Romero & Espy-Wilson 2011, equation 1. With R = D it is the two-covariance model; between is
    loading loading^T.
    """

    loading: np.ndarray                  # (D, R)
    within: np.ndarray                   # (D, D)


def train_plda(statistics: Statistics, rank: int | None = None, n_iterations: int = 10) -> Plda:
    """The PLDA model of most likelihood that n_iterations of EM come to; the log has the likelihood of each.

    rank: of the covariance between speakers, D by default (two-covariance); less is simplified PLDA.
    Raises UserError for a rank outside 1 to D, and for too few utterances for so many dimensions.
    """
    dim = statistics.sums.shape[1]
    rank = dim if rank is None else rank
    if not 1 <= rank <= dim:
        raise UserError(f"a rank of {rank}: the vectors have {dim} dimensions")
    centred = statistics.centred()
    model = initial_model(centred, rank)
    n_vectors = statistics.n_utts.sum()
    for iteration in range(n_iterations):
        log.info("EM iteration %d: log likelihood a vector %.6f", iteration, log_likelihood(centred, model) / n_vectors)
        model = em_step(centred, model)
    log.info("after %d iterations: log likelihood a vector %.6f", n_iterations,
             log_likelihood(centred, model) / n_vectors)
    return Plda.from_covariances(statistics.mean, model.within, model.loading @ model.loading.T)


def initial_model(centred: Statistics, rank: int) -> FactorModel:
    """The rank greatest directions of the covariance of the speakers' means, where noise within is I.

    Raises UserError as Plda.from_covariances does.
    """
    means = centred.sums / centred.n_utts[:, None]
    plda = Plda.from_covariances(centred.mean, centred.within, means.T @ means / len(means))
    back = np.linalg.inv(plda.transform)[:, :rank]
    return FactorModel(back * np.sqrt(plda.psi[:rank]), centred.within)


def em_step(centred: Statistics, model: FactorModel) -> FactorModel:
    """One step of EM, after which the likelihood is no lower.

    Maximum likelihood of loading and within, then minimum divergence, which makes the prior of h what its posteriors
    are on average (Kenny 2010, "Bayesian speaker verification with heavy-tailed priors"; Liu et al. 1998: parameter-
    expanded EM). All speakers share one eigenvalue decomposition; the statistics are centred.
    """
    n, n_vectors = centred.n_utts, centred.n_utts.sum()
    values, projected = _in_posterior_basis(centred, model)
    gain = 1 / (1 + n[:, None] * values)                             # (N, R): variances of h in the basis
    h = projected * gain                                             # (N, R): expectations of h in the basis
    second = h.T @ (n[:, None] * h) + np.diag((n[:, None] * gain).sum(axis=0))
    cross = centred.sums.T @ h                                       # (D, R)
    loading = np.linalg.solve(second, cross.T).T
    within = (centred.scatter - loading @ cross.T) / n_vectors
    prior = (h.T @ h + np.diag(gain.sum(axis=0))) / len(n)
    return FactorModel(loading @ np.linalg.cholesky(prior), (within + within.T) / 2)


def log_likelihood(centred: Statistics, model: FactorModel) -> float:
    """log p of all vectors, the centred statistics of which are given."""
    n, n_vectors, dim = centred.n_utts, centred.n_utts.sum(), len(model.within)
    values, projected = _in_posterior_basis(centred, model)
    posterior = 1 + n[:, None] * values
    _, log_det = np.linalg.slogdet(model.within)
    alone = -0.5 * (n_vectors * (dim * np.log(2 * np.pi) + log_det)
                    + np.trace(np.linalg.solve(model.within, centred.scatter)))
    return float(alone + 0.5 * (projected ** 2 / posterior - np.log(posterior)).sum())


def _in_posterior_basis(centred: Statistics, model: FactorModel) -> tuple[np.ndarray, np.ndarray]:
    """(eigenvalues (R,) of loading^T within^-1 loading, sums within^-1 loading (N, R) in its eigenvectors).

    In that basis the dimensions of every speaker's h are independent given the vectors; the prior of h is the same in
    any basis.
    """
    weighted = np.linalg.solve(model.within, model.loading)          # (D, R)
    values, basis = np.linalg.eigh(model.loading.T @ weighted)
    return np.maximum(values, 0.0), centred.sums @ (weighted @ basis)

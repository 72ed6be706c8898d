"""A PLDA back end fitted to another domain, of which there are embeddings but no speakers.

Both ways compare the covariance of the new embeddings with the model's own, within + between:

    kaldi   where the new domain varies more than the model, the model's covariances get a share of the excess, within
            and between speakers; where it varies less, nothing changes. The rule of Kaldi's ivector-adapt-plda.
    coral   within and between are transformed alike, so that their sum becomes the new covariance: Sun, Feng &
            Saenko 2016, "Return of frustratingly easy domain adaptation", on the model, as Lee et al. 2019, "The CORAL+
            algorithm for unsupervised domain adaptation of PLDA", equations 6 and 7.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pyspk.errors import UserError
from pyspk.scoring.backend import read_backend, write_backend
from pyspk.scoring.plda import Plda
from pyspk.scoring.vectors import vector_blocks
from pyspk.tables.archive import read_scp

METHODS = ("kaldi", "coral")


def adapt(folder: str | Path, scp: str | Path, out_dir: str | Path, method: str = "kaldi", within_scale: float = 0.3,
          between_scale: float = 0.7) -> int:
    """Write the back end of `folder`, adapted to the embeddings of scp, to out_dir; returns how many they are.

    mean.vec becomes theirs; the transform stays. method: one of METHODS; the scales are of "kaldi" alone. The
    embeddings go by twice, a block at a time. Raises UserError as read_backend and moments do.
    """
    frontend, plda = read_backend(folder)
    names = list(read_scp(scp))
    mean, _ = moments(vector_blocks(scp, names), scp)
    frontend = frontend._replace(mean=mean)
    mean, covariance = moments(frontend.blocks(scp, names), scp)
    if method == "kaldi":
        adapted = by_excess(plda, mean, covariance, within_scale, between_scale)
    else:
        adapted = by_correlation(plda, mean, covariance)
    write_backend(out_dir, frontend, adapted)
    return len(names)


def by_excess(plda: Plda, mean: np.ndarray, covariance: np.ndarray, within_scale: float, between_scale: float) -> Plda:
    """The model after Kaldi's rule, of the new domain's mean (D,) and covariance (D, D).

    The covariance counts about the model's mean. In the space where the model's total covariance is I, let s be its
    eigenvalues: in the directions with s > 1, within gains within_scale (s - 1) and between between_scale (s - 1).
    """
    whiten = plda.transform / np.sqrt(1 + plda.psi)[:, None]
    shift = mean - plda.mean
    values, vectors = np.linalg.eigh(whiten @ (covariance + np.outer(shift, shift)) @ whiten.T)
    back = np.linalg.inv(whiten)
    excess = back @ (vectors * np.maximum(values - 1, 0)) @ vectors.T @ back.T
    return Plda.from_covariances(mean, plda.within + within_scale * excess, plda.between + between_scale * excess)


def by_correlation(plda: Plda, mean: np.ndarray, covariance: np.ndarray) -> Plda:
    """The model whose within + between is `covariance` (D, D), by C^(1/2) T^(-1/2) from the left, T its own so far.

    Raises UserError when the covariance is not positive definite.
    """
    align = _power(covariance, 0.5) @ _power(plda.within + plda.between, -0.5)
    return Plda.from_covariances(mean, align @ plda.within @ align.T, align @ plda.between @ align.T)


def moments(blocks: Iterable[tuple[slice, np.ndarray]], where: object) -> tuple[np.ndarray, np.ndarray]:
    """(mean (D,), covariance (D, D)) float64 of vectors that come in blocks.

    Raises UserError when they are fewer than their dimensions, so that the covariance could not be inverted.
    """
    n, total, scatter = 0, 0.0, 0.0
    for _, vectors in blocks:
        x = vectors.astype(np.float64)
        n, total, scatter = n + len(x), total + x.sum(axis=0), scatter + x.T @ x
    if n <= len(total):
        raise UserError(f"{where}: {n} embeddings are too few for {len(total)} dimensions; take more")
    mean = total / n
    return mean, scatter / n - np.outer(mean, mean)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """matrix^exponent of a symmetric matrix (D, D). Raises UserError when it is not positive definite."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] <= 0:
        raise UserError("the covariance of the new embeddings is not positive definite; take more of them")
    return vectors * values ** exponent @ vectors.T

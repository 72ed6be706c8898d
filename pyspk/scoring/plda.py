"""PLDA: how much likelier two sides are if one speaker spoke both than if two did, as a log likelihood ratio.

The two-covariance model (Brummer & de Villiers 2010, "The speaker partitioning problem", section 2): a vector is
mean + y + e, with y ~ N(0, between) the speaker's and e ~ N(0, within) the utterance's. It is held as Ioffe (2006,
"Probabilistic linear discriminant analysis") and Kaldi hold it: in u = transform (x - mean) the covariance within
speakers is I and that between them is diag(psi). Simplified PLDA (Garcia-Romero & Espy-Wilson 2011) is the same with
some psi 0.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.linalg

from pyspk.errors import UserError
from pyspk.scoring.blocks import inner_products
from pyspk.tables.atomic import atomic_write
from pyspk.tables.matrix import encode, parse_head
from pyspk.tables.stream import text_of
from pyspk.tables.text import read_bytes

_BINARY, _BEGIN, _END = b"\0B", b"<Plda> ", b"</Plda> "


class Plda(NamedTuple):
    """The model of vectors of D dimensions, all float64."""

    mean: np.ndarray                     # (D,)
    transform: np.ndarray                # (D, D)
    psi: np.ndarray                      # (D,), not negative

    @classmethod
    def from_covariances(cls, mean: np.ndarray, within: np.ndarray, between: np.ndarray) -> "Plda":
        """The model of mean (D,) and covariances (D, D), of which within must be positive definite.

        Raises UserError when it is not. psi is in descending order.
        """
        try:
            psi, vectors = scipy.linalg.eigh(between, within)         # vectors.T within vectors = I
        except np.linalg.LinAlgError:
            raise UserError("the covariance within speakers is not positive definite; take more utterances, or a "
                            "smaller --lda-dim") from None
        return cls(mean, np.ascontiguousarray(vectors.T[::-1]), np.maximum(psi[::-1], 0.0))

    @property
    def within(self) -> np.ndarray:
        """The covariance (D, D) of the utterances of one speaker."""
        back = np.linalg.inv(self.transform)
        return back @ back.T

    @property
    def between(self) -> np.ndarray:
        """The covariance (D, D) of speakers."""
        back = np.linalg.inv(self.transform)
        return back * self.psi @ back.T

    def project(self, x: np.ndarray, n_utts: np.ndarray | None = None) -> np.ndarray:
        """u = transform (x - mean), (m, D) float64, of vectors x (m, D).

        n_utts (m,): how many utterances each is the mean of; if given, u is scaled to the length that the model expects
        of it, sum of u^2 / (psi + 1 / n) = D, as Kaldi's ivector-plda-scoring does unless told otherwise.
        """
        u = (x - self.mean) @ self.transform.T
        if n_utts is not None:
            u *= np.sqrt(u.shape[1] / (u ** 2 / (self.psi + 1 / n_utts[:, None])).sum(axis=1, keepdims=True))
        return u


def log_likelihood_ratios(psi: np.ndarray, u: np.ndarray, n_utts: np.ndarray, enroll: np.ndarray, test: np.ndarray,
                          device: str = "cpu") -> np.ndarray:
    """Log likelihood ratio (n,) float64 of each trial: one speaker against two.

    psi (D,); u (m, D): projected means of n_utts (m,) utterances; enroll, test (n,): rows of u, test of one utterance
    each. Exact for any number of enroll utterances: given n of mean u_e the speaker's part is normal with mean
    n psi / (n psi + 1) u_e and variance psi / (n psi + 1) (Ioffe 2006, section 4), so that in each dimension
        log N(u_t; n psi / (n psi + 1) u_e, 1 + psi / (n psi + 1)) - log N(u_t; 0, 1 + psi),
    added up over the dimensions. A sum of products of u_e and u_t and of terms of one side, which are computed once.
    """
    score = np.empty(len(enroll))
    n_of_trial = n_utts[enroll]
    for n in np.unique(n_of_trial):
        terms = _terms(psi, n)
        of_enroll, of_test = u ** 2 @ terms.enroll, u ** 2 @ terms.test
        trials = np.flatnonzero(n_of_trial == n)
        products = inner_products(u * terms.both, u, enroll[trials], test[trials], device)
        score[trials] = products + of_enroll[enroll[trials]] + of_test[test[trials]] + terms.constant
    return score


def as_inner_products(psi: np.ndarray, u: np.ndarray, n_utts: np.ndarray,
                      cohort: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """left (m, K), right (C, K) float32: left right^T is the ratio of each u, enrolled, with each of the cohort.

    u (m, D) of n_utts (m,) utterances, cohort (C, D) of one each, projected. K is D + 1 + how many different n_utts.
    """
    numbers, which = np.unique(n_utts, return_inverse=True)
    terms = [_terms(psi, n) for n in numbers]
    both, of_enroll = (np.array([getattr(term, name) for term in terms])[which] for name in ("both", "enroll"))
    alone = (u ** 2 * of_enroll).sum(axis=1) + np.array([term.constant for term in terms])[which]
    left = np.hstack([u * both, alone[:, None], np.eye(len(numbers))[which]])
    right = np.hstack([cohort, np.ones((len(cohort), 1)), cohort ** 2 @ np.array([term.test for term in terms]).T])
    return left.astype(np.float32), right.astype(np.float32)


class _Terms(NamedTuple):
    """What the ratio is a sum of, with n enroll utterances: weights (D,) of u_e u_t, u_e^2 and u_t^2, a constant."""

    both: np.ndarray
    enroll: np.ndarray
    test: np.ndarray
    constant: float


def _terms(psi: np.ndarray, n: int) -> _Terms:
    shrink = n * psi / (n * psi + 1)
    one, two = 1 + psi / (n * psi + 1), 1 + psi                      # variances of u_t if one speaker spoke, if two did
    return _Terms(shrink / one, -0.5 * shrink ** 2 / one, -0.5 * (1 / one - 1 / two), -0.5 * np.log(one / two).sum())


def write_plda(path: str | Path, plda: Plda, text: bool = False) -> None:
    """Write the model as Kaldi's `plda` file: <Plda>, mean, transform, psi, </Plda>, in double precision."""
    parts = [value.astype(np.float64) for value in plda]
    with atomic_write(path, "wb") as file:
        if text:
            file.write(_BEGIN + b"".join(map(text_of, parts)) + _END + b"\n")
        else:
            file.write(_BINARY + _BEGIN + b"".join(encode(part)[len(_BINARY):] for part in parts) + _END)


def read_plda(path: str | Path) -> Plda:
    """The model of Kaldi's `plda` file, binary or text, float or double.

    Raises UserError when it is missing, of another kind, cut short, or its sizes do not fit each other.
    """
    content = read_bytes(path)
    try:
        mean, transform, psi = _binary_parts(content) if content.startswith(_BINARY) else _text_parts(content)
        if not (mean.ndim == psi.ndim == 1 and transform.shape == (len(mean), len(psi)) == (len(psi), len(mean))):
            raise ValueError(f"sizes {mean.shape}, {transform.shape} and {psi.shape}")
        if not all(np.isfinite(part).all() for part in (mean, transform, psi)) or (psi < 0).any():
            raise ValueError("values that are not finite, or a negative psi")
    except ValueError as fault:
        raise UserError(f"{path}: no PLDA model as Kaldi writes it, or damaged ({fault}); make it again") from None
    return Plda(mean, transform, psi)


def _binary_parts(content: bytes) -> list[np.ndarray]:
    at = len(_BINARY + _BEGIN)
    if content[:at] != _BINARY + _BEGIN or not content.rstrip().endswith(_END.strip()):
        raise ValueError("not between <Plda> and </Plda>")
    parts = []
    for _ in range(3):
        head = parse_head(_BINARY + content[at:at + 64])
        if head is None or head.token not in ("FV", "DV", "FM", "DM"):
            raise ValueError("neither vector nor matrix where one should be")
        at += head.n_head_bytes - len(_BINARY)
        count = head.n_bytes // head.stored.itemsize
        part = np.frombuffer(content, head.stored, count, at).astype(np.float64)
        parts.append(part if head.is_vector else part.reshape(head.rows, head.cols))
        at += head.n_bytes
    return parts


def _text_parts(content: bytes) -> list[np.ndarray]:
    words = content.decode("ascii", "replace").strip()
    if not (words.startswith(_BEGIN.decode().strip()) and words.endswith(_END.decode().strip())):
        raise ValueError("not between <Plda> and </Plda>")
    bodies = re.findall(r"\[([^\]]*)\]", words)
    if len(bodies) != 3:
        raise ValueError(f"{len(bodies)} values in brackets, not 3")
    rows = [row.split() for row in bodies[1].split("\n") if row.strip()]
    return [np.array(values, dtype=np.float64) for values in (bodies[0].split(), rows, bodies[2].split())]

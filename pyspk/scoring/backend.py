"""The PLDA back end: embeddings centred, transformed by LDA or whitened, brought to one length, and scored by PLDA.

A folder of it has Kaldi's names and formats, so that one made there serves here, and the other way round:

    mean.vec         taken off each embedding
    transform.mat    then multiplied with it: LDA or whitening, (L, D) or, with an offset, (L, D + 1)
    plda             the model of what comes out, brought to the length sqrt(L)
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.linalg

from pyspk.errors import UserError, first_few
from pyspk.scoring.folder import MEAN, PLDA, TRANSFORM
from pyspk.scoring.plda import Plda, log_likelihood_ratios, read_plda, write_plda
from pyspk.scoring.plda_em import Statistics, collect, train_plda
from pyspk.scoring.trials import Scores, read_trials, write_scores
from pyspk.scoring.vectors import check_dim, read_vectors, trial_vectors, vector_blocks
from pyspk.tables.archive import ArchiveReader, read_vector, write_vector
from pyspk.tables.atomic import atomic_write
from pyspk.tables.matrix import encode
from pyspk.tables.text import read_table

log = logging.getLogger(__name__)


class Frontend(NamedTuple):
    """What is done to an embedding before PLDA sees it."""

    mean: np.ndarray                     # (D,)
    transform: np.ndarray                # (L, D)
    offset: np.ndarray | float = 0.0     # (L,)

    def apply(self, emb: np.ndarray, names: list[str], where: object) -> np.ndarray:
        """transform (emb - mean) + offset, of length sqrt(L): (n, L) float32, of emb (n, D).

        Length normalisation: Garcia-Romero & Espy-Wilson 2011, section 3.2; to sqrt(L), as Kaldi's
        ivector-normalize-length does. Raises UserError for another dimension, and naming the first of `names` (n) that
        come out as zero or not finite.
        """
        check_dim(emb, len(self.mean), where, MEAN)
        x = (emb - self.mean) @ self.transform.T + self.offset
        norm = np.sqrt(np.einsum("nd,nd->n", x, x))
        if (bad := np.flatnonzero(~(np.isfinite(norm) & (norm > 0)))).size:
            raise UserError(f"{where}: {len(bad)} of {len(names)} embeddings less the mean are zero or not finite "
                            f"({first_few([names[i] for i in bad[:4]])}); extract them again, or leave them out")
        return (x * (np.sqrt(x.shape[1]) / norm)[:, None]).astype(np.float32)

    def read(self, scp: str | Path, names: list[str] | None = None) -> tuple[list[str], np.ndarray]:
        """names and their embeddings as `apply` gives them. Raises UserError as read_vectors and `apply` do."""
        names, emb = read_vectors(scp, names)
        return names, self.apply(emb, names, scp)

    def blocks(self, scp: str | Path, names: list[str]) -> Iterator[tuple[slice, np.ndarray]]:
        """The same, a block at a time, as vector_blocks."""
        for which, emb in vector_blocks(scp, names):
            yield which, self.apply(emb, names[which], scp)


def lda(statistics: Statistics, dim: int) -> np.ndarray:
    """(dim, D): the directions of the largest ratio of between- to within-speaker variance, the latter made 1.

    Fisher's criterion for several classes (Rao 1948), by the generalised eigenvalue problem total v = k within v.
    Raises UserError when dim is more than D or than the number of speakers less one.
    """
    most = min(len(statistics.scatter), len(statistics.n_utts) - 1)
    if not 1 <= dim <= most:
        raise UserError(f"--lda-dim {dim}: embeddings of {len(statistics.scatter)} dimensions and "
                        f"{len(statistics.n_utts)} speakers allow 1 to {most}")
    _, vectors = scipy.linalg.eigh(statistics.total, statistics.within)
    return np.ascontiguousarray(vectors.T[::-1][:dim])


def whitening(statistics: Statistics) -> np.ndarray:
    """(D, D): makes the covariance of all vectors I. Raises UserError when they do not span all dimensions."""
    values, vectors = np.linalg.eigh(statistics.total)
    if values[0] <= 1e-10 * values[-1]:
        raise UserError(f"the embeddings do not span their {len(values)} dimensions, so they cannot be whitened; take "
                        "more of them, or --lda-dim")
    return vectors.T / np.sqrt(values)[:, None]


def train(utt2spk: str | Path, scp: str | Path, out_dir: str | Path, lda_dim: int | None = None,
          rank: int | None = None, n_iterations: int = 10) -> Statistics:
    """Write a back end of the utterances of utt2spk to the folder out_dir, `plda` last; returns their statistics.

    lda_dim: dimensions that LDA leaves; without it the embeddings are whitened. rank, n_iterations: as train_plda
    takes them. The embeddings go by twice, a block at a time. Raises UserError as read_table, collect, lda, whitening
    and train_plda do.
    """
    spk_of = read_table(utt2spk)
    if not spk_of:
        raise UserError(f"{utt2spk}: empty; it has a line \"utterance speaker\" for each utterance to train on")
    numbers: dict[str, int] = {}
    spk = np.array([numbers.setdefault(name, len(numbers)) for name in spk_of.values()])
    names = list(spk_of)
    raw = collect(vector_blocks(scp, names), spk)
    frontend = Frontend(raw.mean, whitening(raw) if lda_dim is None else lda(raw, lda_dim))
    seen = collect(frontend.blocks(scp, names), spk)
    plda = train_plda(seen, rank, n_iterations)
    write_backend(out_dir, frontend, plda)
    return seen


def score_file(folder: str | Path, trials: str | Path, enroll_scp: str | Path, test_scp: str | Path, out: str | Path,
               enroll_map: str | Path | None = None, normalizes_length: bool = False, device: str = "cpu") -> int:
    """Write PLDA's log likelihood ratio of each trial to `out`, in the order of the trials; returns how many.

    folder: of a back end. With enroll_map the enroll names are models, each of as many utterances as it names; the
    formula is exact for any number. normalizes_length: in the model's space once more, as Plda.project with n_utts.
    Raises UserError as read_backend, read_trials and trial_vectors do.
    """
    frontend, plda = read_backend(folder)
    listed = read_trials(trials)
    found = trial_vectors(listed, enroll_scp, test_scp, frontend.read, enroll_map)
    u = plda.project(found.emb, found.n_utts if normalizes_length else None)
    score = log_likelihood_ratios(plda.psi, u, found.n_utts, found.enroll, found.test, device)
    write_scores(out, Scores(listed.names, listed.enroll, listed.test, score))
    return len(score)


def write_backend(folder: str | Path, frontend: Frontend, plda: Plda) -> None:
    """Write the three files, `plda` last."""
    folder = Path(folder)
    offset = np.broadcast_to(frontend.offset, len(frontend.transform))[:, None]
    transform = np.hstack([frontend.transform, offset]) if offset.any() else frontend.transform
    write_vector(folder / MEAN, frontend.mean)
    with atomic_write(folder / TRANSFORM, "wb") as file:
        file.write(encode(transform.astype(np.float32)))
    write_plda(folder / PLDA, plda)


def read_backend(folder: str | Path) -> tuple[Frontend, Plda]:
    """The back end of a folder, ours or Kaldi's. Without transform.mat nothing is transformed.

    Raises UserError when mean.vec or plda is missing or damaged, and when sizes do not fit each other.
    """
    folder = Path(folder)
    mean, plda = read_vector(folder / MEAN), read_plda(folder / PLDA)
    transform, offset = np.eye(len(mean), dtype=np.float32), 0.0
    if (folder / TRANSFORM).exists():
        transform = ArchiveReader().matrix(str(folder / TRANSFORM))
    else:
        log.warning("%s: no %s, so embeddings are centred and brought to one length, and not transformed", folder,
                    TRANSFORM)
    if transform.shape[1] == len(mean) + 1:
        transform, offset = transform[:, :-1], transform[:, -1]
    if transform.shape != (len(plda.mean), len(mean)):
        raise UserError(f"{folder / TRANSFORM}: {transform.shape[0]} rows and {transform.shape[1]} columns do not fit "
                        f"{MEAN} of {len(mean)} and {PLDA} of {len(plda.mean)}; they must come from one training")
    return Frontend(mean, transform, offset), plda

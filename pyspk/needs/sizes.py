"""Bytes of what is written, by what it is made of: what the formats of tables/ cost, worked out once."""

from typing import NamedTuple

_FLOAT = 4
_VALUE_BYTES = 60          # key, token and sizes of one matrix or vector, in its archive and its scp
_COLUMN_BYTES = 8          # of one column of a compressed matrix: its percentiles
COPY_BYTES = 120           # what a copy's lines have more than those of its source: names, and what is done to it
_SCORE_BYTES = 15          # of one score, its blanks and its line end: at most -1.234567e-05


class Weights(NamedTuple):
    """What training holds and saves: numbers of weights, each a float32."""

    net: int               # parameters of the network
    buffers: int           # what its normalisation has learned of mean and variance
    classifier: int        # parameters of the loss: of all speakers, in all processes together


def feature_bytes(n_utts: int, n_frames: float, dim: int, compress: bool) -> float:
    """Archives and scp of n_utts matrices (T, dim) with n_frames rows in all: a byte a value, or four."""
    return n_frames * dim * (1 if compress else _FLOAT) + n_utts * (_VALUE_BYTES + compress * _COLUMN_BYTES * dim)


def decision_bytes(n_utts: int, n_frames: float) -> float:
    """vad.scp and its archives: a float for each frame."""
    return _FLOAT * n_frames + _VALUE_BYTES * n_utts


def embedding_bytes(n_utts: int, n_spk: int, emb_dim: int) -> float:
    """xvector.scp, spk_xvector.scp and their archives, num_utts.ark."""
    return (n_utts + n_spk) * (_FLOAT * emb_dim + 2 * _VALUE_BYTES)


def score_bytes(n_trials: float, pair_bytes: float) -> float:
    """A score file. pair_bytes: of the two names of a trial, on average."""
    return n_trials * (pair_bytes + _SCORE_BYTES)


def checkpoint_bytes(weights: Weights) -> int:
    """last.pt: weights and momentum of network and loss."""
    return _FLOAT * (2 * (weights.net + weights.classifier) + weights.buffers)


def model_bytes(weights: Weights) -> int:
    """final.pt, or one of epochs/: the network alone."""
    return _FLOAT * (weights.net + weights.buffers)


def training_bytes(weights: Weights, keep_checkpoints: int, average_epochs: int) -> int:
    """All that training has on the disk at once.

    The checkpoints that are kept and the one being written; the networks of the epochs that final.pt may be the mean
    of, which are average_epochs for each of keep_checkpoints + 1 places to go on from, at most one more for each place;
    the one being written, and final.pt.
    """
    n_epochs = average_epochs + keep_checkpoints
    return (keep_checkpoints + 1) * checkpoint_bytes(weights) + (n_epochs + 2) * model_bytes(weights)


def in_words(n_bytes: float) -> str:
    """ "1.2 GB", or MB below one."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"

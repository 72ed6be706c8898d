"""Embeddings: a network and features to one vector an utterance."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence


@torch.inference_mode()
def embed(net: nn.Module, feats: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings (n, D) float32 of n whole utterances, each (T, F) float32 with a T of its own.

    `net` is in evaluation mode; the padding in its batch changes no embedding but for rounding.
    """
    device = next(net.parameters()).device
    n_frames = [len(one) for one in feats]
    padded = pad_sequence([torch.from_numpy(one) for one in feats], batch_first=True).to(device)     # (n, T, F)
    lengths = None if len(set(n_frames)) == 1 else torch.tensor(n_frames, device=device)
    return net(padded, lengths).float().cpu().numpy()


def speaker_means(read: Callable[[str], np.ndarray],
                  spk2utt: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, np.ndarray]]:
    """(speaker, mean (D,) of the embeddings of its utterances), unnormalised as Kaldi's ivector-mean.

    read: utterance -> embedding (D,). One embedding is held at a time.
    """
    for spk, utts in spk2utt.items():
        yield spk, mean_vector(map(read, utts))


def mean_vector(vectors: Iterable[np.ndarray]) -> np.ndarray:
    """Mean (D,) float32 of vectors (D,), summed in double precision one by one."""
    total, n = 0.0, 0
    for vector in vectors:
        total, n = total + vector.astype(np.float64), n + 1
    return (total / n).astype(np.float32)

"""Embeddings: a network and features to one vector an utterance."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn


@torch.inference_mode()
def embed(net: nn.Module, feats: np.ndarray) -> np.ndarray:
    """Embedding (D,) float32 of one whole utterance, feats (T, F) float32. `net` is in evaluation mode."""
    device = next(net.parameters()).device
    return net(torch.from_numpy(feats)[None].to(device)).squeeze(0).float().cpu().numpy()


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

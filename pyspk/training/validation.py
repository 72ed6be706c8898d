"""How well a network tells held-out speakers apart."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from pyspk.chunks import FeatureReader
from pyspk.embeddings import embed
from pyspk.metrics import eer
from pyspk.waves import WaveReader
from pyspk.world import World

_UTTS_AT_ONCE = {"cpu": 1}        # a CPU gains nothing by more
_UTTS_AT_ONCE_ELSEWHERE = 32


def validation_eer(net: nn.Module, reader: FeatureReader | WaveReader, valid: Mapping[str, Sequence[str]],
                   world: World) -> float | None:
    """EER in [0, 1] over all pairs of the held-out speakers' utterances, their mean subtracted; None without pairs.

    valid: speaker -> utterances, whose embeddings the processes share. The network is left in evaluation mode.
    """
    labels = np.array([i for i, utts in enumerate(valid.values()) for _ in utts])
    if len(valid) < 2 or len(labels) == len(valid):
        return None
    net.eval()
    utts = [utt for utts in valid.values() for utt in utts]
    share = -(-len(utts) // world.size)
    ours = _embeddings(net, reader, [utts[i % len(utts)] for i in range(world.rank * share, (world.rank + 1) * share)])
    embs = world.gather_rows(torch.from_numpy(ours).to(world.device))[:len(utts)].cpu().numpy()
    embs -= embs.mean(axis=0)
    embs /= np.linalg.norm(embs, axis=1, keepdims=True)
    first, second = np.triu_indices(len(labels), k=1)
    scores = np.einsum("nd,nd->n", embs[first], embs[second])
    same = labels[first] == labels[second]
    # The first process's word counts: the last digit may differ elsewhere, and all must decide alike.
    value = float(eer(scores[same], scores[~same])) if world.is_first else 0.0
    return world.sum(torch.tensor(value, dtype=torch.float64, device=world.device)).item()


def _embeddings(net: nn.Module, reader: FeatureReader | WaveReader, utts: Sequence[str]) -> np.ndarray:
    n = _UTTS_AT_ONCE.get(next(net.parameters()).device.type, _UTTS_AT_ONCE_ELSEWHERE)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False):      # each batch has another length
        return np.concatenate([embed(net, [reader.whole(utt) for utt in utts[i:i + n]])
                               for i in range(0, len(utts), n)])

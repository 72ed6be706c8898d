"""What a speaker's weights are before the first step."""

import math

import torch
from torch import Tensor

_SPEAKERS_DRAWN = 1 << 14      # at a time


def first_weights(n_spk: int, emb_dim: int, rows: slice) -> Tensor:
    """The `rows` of weights (N, D) as Glorot & Bengio 2010, eq. 12, have them, but normally distributed.

    All are drawn, a part at a time, so that they and the generator do not depend on who holds which.
    """
    std = math.sqrt(2 / (n_spk + emb_dim))
    weights = torch.empty(rows.stop - rows.start, emb_dim)
    for start in range(0, n_spk, _SPEAKERS_DRAWN):
        drawn = torch.empty(min(_SPEAKERS_DRAWN, n_spk - start), emb_dim).normal_(0, std)
        first, last = max(start, rows.start), min(start + len(drawn), rows.stop)
        if first < last:
            weights[first - rows.start:last - rows.start] = drawn[first - start:last - start]
    return weights
